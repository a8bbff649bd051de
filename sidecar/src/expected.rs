//! Which workers are about to wake: those whose alarms come due soon. Isolates wait ready for them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use portside_core::ids::{SHARDS, WorkerKey};
use portside_runtime::Expected;

use crate::app::App;

/// Alarms that come due within this time count: two cores that have nothing else to do make some thousand isolates in it.
const SOON: Duration = Duration::from_secs(5);

/// Has isolates wait for them, as many as there is room for. What is expected is no more than a guess: each worker looks for itself.
pub fn look(app: &App) {
    let class = app.class();
    let most = app.room().most_expected(app.isolates().ready());
    let may_wake = app.room().cap(&class.limits).saturating_sub(app.awake());
    let wakes_with_one = |worker: &WorkerKey| {
        // Objects have no isolates of their own, and what a cron is due for is no worker.
        class.bundle.modules.contains_key(worker.script())
            && app.workers().get(worker).is_none()
            && !app.isolates().inspects(worker)
            && app.ownership().serves(worker.id().shard(SHARDS)).is_some()
    };
    let due = app.alarms().due_within(SOON).into_iter();
    let mut scripts = HashMap::<_, Expected>::new();
    for worker in due.filter(wakes_with_one).take(most.min(may_wake)) {
        let script = scripts.entry(worker.script().to_owned());
        let expected = script.or_insert_with(|| Expected {
            worker,
            bundle: class.bundle.clone(),
            limits: class.limits.clone(),
            count: 0,
        });
        expected.count += 1;
    }
    app.isolates().expect(scripts.into_values().collect(), most);
    if !Arc::ptr_eq(&class, &app.class()) {
        // It was replaced meanwhile, and what it had was given up before this.
        app.isolates().forget(&class.bundle);
    }
}
