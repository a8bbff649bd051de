//! The wall clock, and the clock that leases count by.

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch.
pub fn now_ms() -> i64 {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}

/// Milliseconds since the machine was started, by a clock that goes on while the system suspends itself: a machine that
/// sleeps and wakes finds its leases expired. Never steps back.
///
/// A virtual machine that its host pauses, or saves and restores, may not notice: its clock can stand still meanwhile.
/// Then a lease seems valid that others have seen end. What it would write is refused all the same, for the shards are in
/// other epochs, and the gateways, once they have heard of a successor, let nothing of it through. An answer without a
/// write, on a connection to a gateway that has heard of none yet, can be old.
pub fn boot_ms() -> u64 {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    const CLOCK: libc::clockid_t = libc::CLOCK_BOOTTIME;
    // On Apple's systems this one goes on while the machine sleeps.
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    const CLOCK: libc::clockid_t = libc::CLOCK_MONOTONIC;
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a timespec that the call may write; it fails for an unknown clock only, and then writes nothing.
    #[allow(unsafe_code)]
    let result = unsafe { libc::clock_gettime(CLOCK, &raw mut time) };
    assert_eq!(result, 0, "every supported system has this clock");
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanoseconds = u64::try_from(time.tv_nsec).unwrap_or_default();
    seconds * 1_000 + nanoseconds / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lease_clock_goes_on() {
        let before = boot_ms();
        std::thread::sleep(std::time::Duration::from_millis(20));
        let passed = boot_ms() - before;
        assert!((19..10_000).contains(&passed), "{passed} ms");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_lease_clock_is_that_of_the_machine() {
        // /proc/uptime counts by the same clock.
        let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
        let seconds: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
        let now = boot_ms() as f64 / 1_000.0;
        assert!(
            (0.0..10.0).contains(&(now - seconds + 0.01)),
            "{now} {seconds}"
        );
    }
}
