//! Which imports are no code, by wrangler's `rules`.

use portside_assets::Glob;
use portside_core::bundle::ModuleKind;
use serde::Deserialize;

/// What a rule says that modules are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) enum RuleType {
    ESModule,
    CommonJS,
    CompiledWasm,
    Text,
    Data,
}

impl RuleType {
    /// The kind of such modules; none for code, which is bundled whatever a rule says.
    pub fn kind(self) -> Option<ModuleKind> {
        match self {
            Self::ESModule | Self::CommonJS => None,
            Self::CompiledWasm => Some(ModuleKind::Wasm),
            Self::Text => Some(ModuleKind::Text),
            Self::Data => Some(ModuleKind::Bytes),
        }
    }
}

/// One rule.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Rule {
    #[serde(rename = "type")]
    pub kind: RuleType,
    pub globs: Vec<String>,
    /// Whether later rules of the type count, too; without a word they do not.
    pub fallthrough: Option<bool>,
}

/// What the rules say of an import.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is of this kind.
    Kind(ModuleKind),
    /// Only a rule speaks of it that does not count, for an earlier one of its type has no fallthrough.
    Ignored,
    /// Nothing.
    Unspoken,
}

/// All rules of an application: its own, and wrangler's after them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rules {
    active: Vec<(String, ModuleKind)>,
    ignored: Vec<String>,
}

impl Rules {
    /// The rules that count, and the numbers of those that end their type without saying that they mean to, though others
    /// of the type follow.
    pub fn new(own: &[Rule]) -> (Self, Vec<usize>) {
        let mut rules = Self::default();
        let mut ended: Vec<(RuleType, usize)> = vec![];
        let mut unsaid = vec![];
        for (n, rule) in own.iter().cloned().chain(defaults()).enumerate() {
            let Some(kind) = rule.kind.kind() else {
                continue;
            };
            if let Some((_, by)) = ended.iter().find(|(ended, _)| *ended == rule.kind) {
                let silent = own.get(*by).is_some_and(|one| one.fallthrough.is_none());
                if silent && !unsaid.contains(by) {
                    unsaid.push(*by);
                }
                rules.ignored.extend(rule.globs);
                continue;
            }
            if rule.fallthrough != Some(true) {
                ended.push((rule.kind, n));
            }
            let globs = rule.globs.into_iter();
            rules.active.extend(globs.map(|glob| (glob, kind)));
        }
        (rules, unsaid)
    }

    /// The globs that count, in their order.
    pub fn globs(&self) -> &[(String, ModuleKind)] {
        &self.active
    }

    /// What is said of an import of `specifier`, as the code has it. The first rule that fits counts.
    pub fn verdict(&self, specifier: &str) -> Verdict {
        let fitting = self.active.iter().find(|(glob, _)| fits(glob, specifier));
        match fitting {
            Some((_, kind)) => Verdict::Kind(*kind),
            None if self.ignored.iter().any(|glob| fits(glob, specifier)) => Verdict::Ignored,
            None => Verdict::Unspoken,
        }
    }
}

/// Wrangler's own rules.
fn defaults() -> [Rule; 3] {
    let rule = |kind, globs: &[&str]| Rule {
        kind,
        globs: globs.iter().map(ToString::to_string).collect(),
        fallthrough: None,
    };
    [
        rule(RuleType::Text, &["**/*.txt", "**/*.html", "**/*.sql"]),
        rule(RuleType::Data, &["**/*.bin"]),
        rule(RuleType::CompiledWasm, &["**/*.wasm", "**/*.wasm?module"]),
    ]
}

/// Whether a glob fits a whole specifier, as in wrangler: stars stand for anything, slashes too, and all else for itself.
fn fits(glob: &str, specifier: &str) -> bool {
    Glob::new(glob).matches(specifier)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn stars_stand_for_anything() {
        for (glob, specifier, fit) in [
            ("**/*.txt", "./a/b.txt", true),
            ("**/*.txt", "./a/b.txt.js", false),
            ("**/*.txt", "b.txt", false),
            ("**/*.wasm?module", "./x.wasm?module", true),
            ("**/*.wasm?module", "./x.wasm", false),
            ("./a*c", "./abc", true),
            ("./a*c", "./ac", true),
            ("./ab*bc", "./abc", false),
            ("./a", "./a", true),
            ("./a", "./ab", false),
            ("*", "anything", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
        ] {
            assert_eq!(fits(glob, specifier), fit, "{glob} {specifier}");
        }
    }

    fn rule(kind: RuleType, glob: &str, fallthrough: Option<bool>) -> Rule {
        Rule {
            kind,
            globs: vec![glob.to_owned()],
            fallthrough,
        }
    }

    #[test]
    fn a_rule_ends_its_type_unless_it_falls_through() {
        let glsl = |fallthrough| Rules::new(&[rule(RuleType::Text, "**/*.glsl", fallthrough)]);
        let text = Verdict::Kind(ModuleKind::Text);
        let (rules, unsaid) = glsl(Some(true));
        assert_eq!(
            (rules.verdict("./a.glsl"), rules.verdict("./a.txt")),
            (text, text)
        );
        assert_eq!(unsaid, [0; 0]);
        let (rules, unsaid) = glsl(None);
        assert_eq!(
            (rules.verdict("./a.glsl"), rules.verdict("./a.txt")),
            (text, Verdict::Ignored)
        );
        assert_eq!(unsaid, [0]);
        assert_eq!(
            rules.verdict("./a.bin"),
            Verdict::Kind(ModuleKind::Bytes),
            "another type"
        );
        assert_eq!(glsl(Some(false)).1, [0; 0], "it says so");
    }

    #[test]
    fn the_first_rule_that_fits_counts() {
        let data = rule(RuleType::Data, "**/*.txt", Some(false));
        let code = rule(RuleType::ESModule, "**/*.js", None);
        let (rules, unsaid) = Rules::new(&[code, data]);
        assert_eq!(rules.verdict("./a.txt"), Verdict::Kind(ModuleKind::Bytes));
        assert_eq!(rules.verdict("./a.js"), Verdict::Unspoken);
        assert_eq!(unsaid, [0; 0]);
    }

    proptest! {
        /// A specifier made from a glob, with anything for its stars, fits it.
        #[test]
        fn what_a_glob_makes_fits_it(pieces in prop::collection::vec("[a-c./]{0,3}", 1..5), fill in "[a-c./]{0,4}") {
            prop_assert!(fits(&pieces.join("*"), &pieces.join(&fill)));
        }
    }
}
