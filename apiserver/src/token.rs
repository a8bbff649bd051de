//! Where a list continues.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::status::Refusal;

/// Where a list continues: the client hands it back as `continue`, and may have changed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Continue {
    /// The namespace of the class.
    pub namespace: String,
    /// The class.
    pub class: String,
    /// What to ask its pods for `after`; nothing before its first page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// The `resourceVersion` of the whole list, which the replica that began it has given.
    pub version: u64,
}

impl Continue {
    /// As the client gets it.
    #[must_use]
    pub fn encode(&self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default())
    }

    /// Reads it, for a list of `namespace`, or of all.
    ///
    /// It isn't signed: whoever writes their own gets what they may list anyway, for it cannot leave
    /// the namespace for which they were found to be allowed to.
    ///
    /// # Errors
    ///
    /// It is not one, or is of another list.
    pub fn decode(text: &str, namespace: Option<&str>) -> Result<Self, Refusal> {
        let wrong = || {
            Refusal::bad_request(
                "the parameter continue is not one that this list gave: list from the beginning",
            )
        };
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| wrong())?;
        let token: Self = serde_json::from_slice(&bytes).map_err(|_| wrong())?;
        if namespace.is_some_and(|it| it != token.namespace) {
            return Err(wrong());
        }
        Ok(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_stays_in_its_namespace() {
        let token = Continue {
            namespace: "a".into(),
            class: "shop".into(),
            after: Some("x".into()),
            version: 5,
        };
        let text = token.encode();
        assert_eq!(Continue::decode(&text, Some("a")), Ok(token.clone()));
        assert_eq!(Continue::decode(&text, None), Ok(token));
        assert_eq!(Continue::decode(&text, Some("b")).unwrap_err().code, 400);
        assert_eq!(Continue::decode("?", None).unwrap_err().code, 400);
        assert_eq!(Continue::decode("e30", None).unwrap_err().code, 400);
    }
}
