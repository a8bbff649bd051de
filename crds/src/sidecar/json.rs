//! How a state stands in JSON, so that versions that know nothing of serving pods can read it.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Ownership, SERVING_TERM, SidecarStatus, State};

/// A state and a term as older versions read them.
pub(super) fn written(state: State, term: u64) -> (State, u64) {
    match state {
        State::Serving => (State::Active, SERVING_TERM),
        State::Standby | State::Active | State::Draining => (state, term),
    }
}

/// The opposite of [`written`].
pub(super) fn read(state: State, term: u64) -> (State, u64) {
    match (state, term) {
        (State::Active, SERVING_TERM) | (State::Serving, _) => (State::Serving, 0),
        other => other,
    }
}

// What is derived for them are functions of the types themselves, for their `remote` is `Self`.

impl Serialize for Ownership {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut shown = self.clone();
        (shown.state, shown.term) = written(self.state, self.term);
        Self::serialize(&shown, serializer)
    }
}

impl<'de> Deserialize<'de> for Ownership {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut said = Self::deserialize(deserializer)?;
        (said.state, said.term) = read(said.state, said.term);
        Ok(said)
    }
}

impl Serialize for SidecarStatus {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut shown = self.clone();
        (shown.state, shown.term) = written(self.state, self.term);
        Self::serialize(&shown, serializer)
    }
}

impl<'de> Deserialize<'de> for SidecarStatus {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut said = Self::deserialize(deserializer)?;
        (said.state, said.term) = read(said.state, said.term);
        Ok(said)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{SidecarWorkers, parse_token, token};
    use super::*;

    /// As a version reads it that has no serving pods.
    #[derive(Deserialize, PartialEq, Debug)]
    #[serde(rename_all = "camelCase")]
    struct Older {
        state: OlderState,
        term: u64,
    }

    #[derive(Deserialize, PartialEq, Debug)]
    #[serde(rename_all = "lowercase")]
    enum OlderState {
        Standby,
        Active,
        Draining,
    }

    fn ownership(state: State, term: u64) -> Ownership {
        Ownership {
            pod: "a-1".into(),
            state,
            term,
            incarnation: Some("0a".into()),
            renewals: Some(3),
        }
    }

    #[test]
    fn older_versions_take_a_serving_pod_for_an_active_one() {
        let text = serde_json::to_string(&ownership(State::Serving, 0)).unwrap();
        assert_eq!(
            text,
            r#"{"pod":"a-1","state":"active","term":9007199254740991,"incarnation":"0a","renewals":3}"#
        );
        let older: Older = serde_json::from_str(&text).unwrap();
        let term = 9_007_199_254_740_991;
        assert_eq!((older.state, older.term), (OlderState::Active, term));
        let token = format!("active:{term}");
        assert_eq!(parse_token(&token), Some((State::Serving, 0)));
    }

    #[test]
    fn what_was_written_is_read() {
        for (state, term) in [
            (State::Standby, 0),
            (State::Active, 7),
            (State::Serving, 0),
            (State::Draining, 0),
        ] {
            let said = ownership(state, term);
            let text = serde_json::to_string(&said).unwrap();
            assert_eq!(serde_json::from_str::<Ownership>(&text).unwrap(), said);
            assert_eq!(parse_token(&token(state, term)), Some((state, term)));
            assert_eq!(state.as_str().parse(), Ok(state));
            let status = SidecarStatus {
                digest: "sha256:00".into(),
                state,
                term,
                workers: SidecarWorkers::default(),
            };
            let text = serde_json::to_string(&status).unwrap();
            assert_eq!(
                serde_json::from_str::<SidecarStatus>(&text).unwrap(),
                status
            );
        }
    }
}
