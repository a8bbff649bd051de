//! How far a container's log has been read, so that each of its lines is passed on once, whatever becomes of a connection.

use k8s_openapi::jiff::Timestamp;
use kube::api::LogParams;
use tokio::time::Instant;

/// A place in a log, or none as long as nothing has come of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Place {
    /// When the last line was logged, as its node has it, and how many lines at that moment have been passed on.
    last: Option<(Timestamp, usize)>,
    /// When the last line came. What keeps logs without times, as some that stand in for kubelets do, is asked by this.
    came: Option<Instant>,
}

/// What is read again from a place on.
pub(super) struct Again {
    /// The place, until what comes is beyond it.
    last: Option<(Timestamp, usize)>,
}

impl Place {
    /// Asks for what has come since, and perhaps for some of what was before; says whether there is such a place.
    pub(super) fn ask(&self, params: &mut LogParams) -> bool {
        if let Some((last, _)) = self.last {
            // The begin of its second: fractions are not asked for, and would be rounded to the next.
            let second = Timestamp::from_second(last.as_second());
            params.since_time = Some(second.unwrap_or(last));
        } else if let Some(came) = self.came {
            let seconds = i64::try_from(came.elapsed().as_secs()).unwrap_or(i64::MAX);
            params.since_seconds = Some(seconds.saturating_add(1));
        }
        self.last.is_some() || self.came.is_some()
    }

    /// For what comes of what has been asked for.
    pub(super) fn again(&self) -> Again {
        Again { last: self.last }
    }

    /// A whole line has been passed on.
    pub(super) fn passed(&mut self, at: Option<Timestamp>) {
        self.came = Some(Instant::now());
        self.last = match (self.last, at) {
            (last, None) => last,
            (Some((last, count)), Some(at)) if last == at => Some((last, count + 1)),
            // Two streams of one container may be a little out of order.
            (Some((last, count)), Some(at)) if last > at => Some((last, count)),
            (_, Some(at)) => Some((at, 1)),
        };
    }
}

impl Again {
    /// Whether a line has not been passed on yet.
    pub(super) fn is_new(&mut self, at: Option<Timestamp>) -> bool {
        let (Some((last, count)), Some(at)) = (&mut self.last, at) else {
            return true;
        };
        if at < *last {
            return false;
        }
        if at == *last && *count > 0 {
            *count -= 1;
            return false;
        }
        self.last = None;
        true
    }
}

/// Takes the time from the begin of a line.
pub(super) fn time(line: &mut Vec<u8>) -> Option<Timestamp> {
    let end = line.iter().position(|it| *it == b' ' || *it == b'\n')?;
    let time = std::str::from_utf8(&line[..end]).ok()?.parse().ok()?;
    let is_space = line[end] == b' ';
    line.drain(..end + usize::from(is_space));
    Some(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(time: &str) -> Option<Timestamp> {
        Some(time.parse().unwrap())
    }

    #[test]
    fn a_line_has_its_time_before_it() {
        let parted = |line: &str| {
            let mut rest = line.as_bytes().to_vec();
            let time = time(&mut rest);
            (time, String::from_utf8(rest).unwrap())
        };
        let noon = at("2026-01-01T12:00:00.5Z");
        let line = parted("2026-01-01T12:00:00.500000000Z a b\n");
        assert_eq!(line, (noon, "a b\n".to_owned()));
        // Where the node is elsewhere, and the line is empty.
        let line = parted("2026-01-01T14:00:00.5+02:00 \n");
        assert_eq!(line, (noon, "\n".to_owned()));
        assert_eq!(parted("a b\n"), (None, "a b\n".to_owned()));
    }

    #[test]
    fn what_is_read_again_is_passed_on_once() {
        let [one, two, three] =
            [".1", ".2", ".3"].map(|it| at(&format!("2026-01-01T12:00:00{it}Z")));
        let mut place = Place::default();
        for time in [one, two, two] {
            assert!(place.again().is_new(None));
            place.passed(time);
        }
        let mut params = LogParams::default();
        assert!(place.ask(&mut params));
        assert_eq!(params.since_time, at("2026-01-01T12:00:00Z"));
        let mut again = place.again();
        let new = [one, two, two, two, three, one].map(|time| again.is_new(time));
        // A clock that is set back loses nothing of what is beyond the place.
        assert_eq!(new, [false, false, false, true, true, true]);
    }

    #[tokio::test(start_paused = true)]
    async fn without_times_it_goes_by_when_a_line_came() {
        let mut place = Place::default();
        assert!(!place.ask(&mut LogParams::default()));
        place.passed(None);
        tokio::time::advance(std::time::Duration::from_secs(30)).await;
        let mut params = LogParams::default();
        assert!(place.ask(&mut params));
        assert_eq!(params.since_seconds, Some(31));
    }
}
