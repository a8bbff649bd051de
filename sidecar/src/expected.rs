//! Which workers are about to wake: those whose alarms come due soon. Isolates wait ready for them.

use std::collections::HashMap;
use std::time::Duration;

use portside_core::ids::WorkerKey;
use portside_runtime::Expected;

use crate::app::App;

/// Alarms that come due within this time count: two cores that have nothing else to do make some thousand isolates in it.
const SOON: Duration = Duration::from_secs(5);

/// Has isolates wait for them, as many as there is room for. What is expected is no more than a guess: each worker looks for itself.
pub fn look(app: &App) {
    let class = app.class();
    let sleeps = |worker: &WorkerKey| app.workers().get(worker).is_none();
    // Objects have no isolates of their own, and what a cron is due for is no worker.
    let is_worker = |worker: &WorkerKey| class.bundle.modules.contains_key(worker.script());
    let due = app.alarms().due_within(SOON);
    let due = due.into_iter().filter(is_worker).filter(sleeps);
    let mut scripts = HashMap::<_, Expected>::new();
    for worker in due.take(app.room().most_expected(app.awake(), &class.limits)) {
        let script = scripts.entry(worker.script().to_owned());
        let expected = script.or_insert_with(|| Expected {
            worker,
            bundle: class.bundle.clone(),
            limits: class.limits.clone(),
            count: 0,
        });
        expected.count += 1;
    }
    app.isolates().expect(scripts.into_values().collect());
}
