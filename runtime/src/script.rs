//! What is known of a script, to all of its instances.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use portside_core::bundle::Bundle;
use portside_surface::parts::CompiledParts;

use crate::code::Code;
use crate::history::History;

/// A script of which there are instances, or were.
pub struct Script {
    /// Whether its instances are brief.
    pub history: History,
    /// What is compiled of it.
    pub code: Code,
    /// What is compiled of the surface.
    pub parts: Arc<CompiledParts>,
}

/// All scripts of all applications. New code has scripts of its own.
#[derive(Default)]
pub struct Scripts {
    bundles: Mutex<Vec<OfBundle>>,
    parts: Arc<CompiledParts>,
}

struct OfBundle {
    /// Its memory is not used for another bundle as long as this refers to it.
    bundle: Weak<Bundle>,
    modules: HashMap<String, Arc<Script>>,
}

impl Scripts {
    /// One script, a module of the bundle.
    pub fn of(&self, bundle: &Arc<Bundle>, module: &str) -> Arc<Script> {
        let mut all = self.bundles.lock().unwrap_or_else(PoisonError::into_inner);
        let known = all
            .iter()
            .position(|known| known.bundle.as_ptr() == Arc::as_ptr(bundle));
        let place = known.unwrap_or_else(|| {
            all.retain(|known| known.bundle.strong_count() > 0);
            all.push(OfBundle {
                bundle: Arc::downgrade(bundle),
                modules: HashMap::new(),
            });
            all.len() - 1
        });
        let modules = &mut all[place].modules;
        if let Some(known) = modules.get(module) {
            return known.clone();
        }
        let script = Arc::new(Script {
            history: History::default(),
            code: Code::default(),
            parts: self.parts.clone(),
        });
        modules.insert(module.to_owned(), script.clone());
        script
    }

    /// Bytes of compiled code that are kept.
    pub fn code_bytes(&self) -> usize {
        let all = self.bundles.lock().unwrap_or_else(PoisonError::into_inner);
        let scripts = all.iter().flat_map(|known| known.modules.values());
        let own: usize = scripts.map(|script| script.code.size()).sum();
        own + self.parts.size()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn each_script_is_known_by_itself_and_new_code_is_new() {
        let bundle = || {
            Arc::new(Bundle {
                main: "server.js".to_owned(),
                modules: BTreeMap::new(),
            })
        };
        let all = Scripts::default();
        let (old, new) = (bundle(), bundle());
        let known = all.of(&old, "room.js");
        assert!(known.code.is_wanted_of(1));
        assert!(!all.of(&old, "room.js").code.is_wanted_of(1));
        assert!(all.of(&old, "report.js").code.is_wanted_of(1));
        assert!(all.of(&new, "room.js").code.is_wanted_of(1));
        drop(old);
        assert!(all.of(&bundle(), "room.js").code.is_wanted_of(1));
        assert_eq!(all.bundles.lock().unwrap().len(), 2);
    }
}
