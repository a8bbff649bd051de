//! Panics of a process, counted and in its log.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::{self, Location, PanicHookInfo};
use std::sync::LazyLock;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

static PANICS: LazyLock<Counter> = LazyLock::new(|| {
    let counter = Counter::default();
    let (counted, before) = (counter.clone(), panic::take_hook());
    panic::set_hook(Box::new(move |info| {
        counted.inc();
        if tracing::enabled!(tracing::Level::ERROR) {
            log(info);
        } else {
            before(info);
        }
    }));
    counter
});

/// Counts the panics of this process, whatever they were caught by, in the metric `panics_total` of `registry`. They go to the
/// log, where there is one: the standard library would write them beside it. What a panic ends is not changed.
pub fn count_panics(registry: &mut Registry) {
    registry.register(
        "panics",
        "Panics: faults of Portside's own code, each is in the log",
        PANICS.clone(),
    );
}

fn log(info: &PanicHookInfo<'_>) {
    let backtrace = Backtrace::capture(); // RUST_BACKTRACE decides
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then_some(backtrace);
    tracing::error!(
        place = info.location().map(Location::to_string),
        panic = info.payload_as_str().unwrap_or("without a message"),
        backtrace = backtrace.map(tracing::field::display),
        "panicked"
    );
}
