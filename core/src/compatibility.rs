//! What an application's code was written for: a compatibility date, and flags that change single things.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// The date and the flags of a configuration. Without a date it is code that was written for Portside itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Compatibility {
    /// As `YYYY-MM-DD`, so that texts compare as dates do.
    date: Option<String>,
    flags: BTreeSet<String>,
}

/// What a date or a flag changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feature {
    /// What is received on a WebSocket as bytes is a `Blob`, unless the application asks for something else.
    BlobsOnWebSockets,
    /// A close on an accepted WebSocket is answered before the application hears of it.
    AnsweredCloses,
    /// The reason of a close may have 123 bytes at most.
    ShortCloseReasons,
    /// `deleteAll()` takes the alarm away, too.
    DeletedAlarms,
    /// What the platform says of itself, and of its clients, is what Cloudflare's says: programs look at it.
    CloudflareNames,
    /// What only Cloudflare's Workers have is there: `caches`, and a request's `cf`.
    CloudflareSurface,
    /// What a browser goes to and no asset is meant by is answered by assets, where they have a page for that.
    NavigationPrefersAssets,
}

/// Since when there is a feature, the flags that switch it on and off, if there are any, and whether code without a date has it.
struct Switch {
    since: &'static str,
    on: Option<&'static str>,
    off: Option<&'static str>,
    own: bool,
}

impl Feature {
    fn switch(self) -> Switch {
        let (since, flags, own) = match self {
            Self::BlobsOnWebSockets => (
                "2026-03-17",
                Some((
                    "websocket_standard_binary_type",
                    "no_websocket_standard_binary_type",
                )),
                false,
            ),
            Self::AnsweredCloses => (
                "2026-04-07",
                Some((
                    "web_socket_auto_reply_to_close",
                    "web_socket_manual_reply_to_close",
                )),
                true,
            ),
            Self::ShortCloseReasons => (
                "2026-03-03",
                Some((
                    "websocket_close_reason_byte_limit",
                    "no_websocket_close_reason_byte_limit",
                )),
                true,
            ),
            Self::DeletedAlarms => (
                "2026-02-24",
                Some(("delete_all_deletes_alarm", "delete_all_preserves_alarm")),
                true,
            ),
            Self::CloudflareNames => ("", Some(("global_navigator", "no_global_navigator")), false),
            Self::CloudflareSurface => ("", None, false),
            Self::NavigationPrefersAssets => (
                "2025-04-01",
                Some((
                    "assets_navigation_prefers_asset_serving",
                    "assets_navigation_has_no_effect",
                )),
                true,
            ),
        };
        Switch {
            since,
            on: flags.map(|(on, _)| on),
            off: flags.map(|(_, off)| off),
            own,
        }
    }

    /// Every feature; JavaScript knows them by their places here.
    pub const ALL: [Self; 7] = [
        Self::BlobsOnWebSockets,
        Self::AnsweredCloses,
        Self::ShortCloseReasons,
        Self::DeletedAlarms,
        Self::CloudflareNames,
        Self::CloudflareSurface,
        Self::NavigationPrefersAssets,
    ];
}

impl Compatibility {
    /// That of a configuration; the newest if it names no date.
    #[must_use]
    pub fn new(date: Option<String>, flags: impl IntoIterator<Item = String>) -> Self {
        Self {
            date: Some(date.unwrap_or_else(|| "9999-12-31".to_owned())),
            flags: flags.into_iter().collect(),
        }
    }

    /// Whether code of this date and with these flags has a feature. A flag that switches it off goes before all else.
    #[must_use]
    pub fn has(&self, feature: Feature) -> bool {
        let Switch {
            since,
            on,
            off,
            own,
        } = feature.switch();
        let by_date = self
            .date
            .as_ref()
            .map_or(own, |date| date.as_str() >= since);
        let is_given = |flag: Option<&str>| flag.is_some_and(|flag| self.flags.contains(flag));
        !is_given(off) && (by_date || is_given(on))
    }

    /// Whether a flag of this name changes anything.
    #[must_use]
    pub fn is_flag(name: &str) -> bool {
        Feature::ALL.iter().any(|feature| {
            let switch = feature.switch();
            switch.on == Some(name) || switch.off == Some(name)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(date: &str, flags: &[&str]) -> Compatibility {
        let flags = flags.iter().map(|&flag| flag.to_owned());
        Compatibility::new(Some(date.to_owned()), flags)
    }

    #[test]
    fn a_feature_comes_with_its_date() {
        assert!(!at("2026-04-06", &[]).has(Feature::AnsweredCloses));
        assert!(at("2026-04-07", &[]).has(Feature::AnsweredCloses));
        assert!(Compatibility::new(None, []).has(Feature::BlobsOnWebSockets));
    }

    #[test]
    fn flags_go_before_the_date() {
        let manual = at("2026-11-01", &["web_socket_manual_reply_to_close"]);
        assert!(!manual.has(Feature::AnsweredCloses));
        let automatic = at("2024-01-01", &["web_socket_auto_reply_to_close"]);
        assert!(automatic.has(Feature::AnsweredCloses));
        assert!(!automatic.has(Feature::ShortCloseReasons));
    }

    #[test]
    fn code_without_a_date_is_portsides_own() {
        let own = Compatibility::default();
        assert!(own.has(Feature::AnsweredCloses) && !own.has(Feature::BlobsOnWebSockets));
    }

    #[test]
    fn flags_that_change_nothing_are_known() {
        assert!(Compatibility::is_flag("web_socket_auto_reply_to_close"));
        assert!(!Compatibility::is_flag("nodejs_compat"));
    }
}
