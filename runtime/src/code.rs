//! The compiled code of a script's modules, so that they are compiled once in a process and not once for each instance.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use deno_core::v8;
use portside_surface::parts::EVENTS_OF_MOST_CODE;

/// Whether an instance that has run so many events, and may run more, shall give what is compiled in it.
pub fn has_run_enough(events: usize, ends: bool) -> bool {
    events >= if ends { 1 } else { EVENTS_OF_MOST_CODE }
}

type Modules = HashMap<String, Arc<[u8]>>;

/// What instances of one script have compiled: V8's code cache of each module, by the module's URL. It has the functions that
/// were run, and holds for this process only.
#[derive(Default)]
pub struct Code {
    modules: Mutex<Modules>,
    /// Events that the instance had run whose code this is.
    events: AtomicUsize,
}

impl Code {
    /// That of a module, if it is known.
    pub fn of(&self, url: &str) -> Option<Arc<[u8]>> {
        self.lock().get(url).cloned()
    }

    /// Whether what an instance that has run so many events has compiled is better than what is known.
    pub fn is_wanted_of(&self, events: usize) -> bool {
        let events = events.min(EVENTS_OF_MOST_CODE);
        self.events.fetch_max(events, Ordering::Relaxed) < events
    }

    /// V8 did not take the code of this module.
    pub fn forget(&self, url: &str) {
        self.lock().remove(url);
    }

    /// Bytes of all of it.
    pub fn size(&self) -> usize {
        self.lock().values().map(|code| code.len()).sum()
    }

    /// Keeps what is compiled of these modules, URL and source, in the isolate of `scope`.
    pub fn keep<'a>(
        &self,
        scope: &mut v8::PinScope<'_, '_>,
        modules: impl Iterator<Item = (&'a str, String)>,
    ) {
        let compiled: Modules = modules
            .filter_map(|(url, source)| Some((url.to_owned(), compiled(scope, url, &source)?)))
            .collect();
        *self.lock() = compiled;
    }

    fn lock(&self) -> MutexGuard<'_, Modules> {
        self.modules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// V8 gives out the code of what it is asked to compile. What it has compiled already it finds again by the source and where
/// that is from, with the functions that have been run since.
fn compiled(scope: &mut v8::PinScope<'_, '_>, url: &str, source: &str) -> Option<Arc<[u8]>> {
    let source = v8::String::new(scope, source)?;
    let url = v8::String::new(scope, url)?.into();
    // As deno_core has it.
    let origin = v8::ScriptOrigin::new(scope, url, 0, 0, false, 0, None, false, false, true, None);
    let mut source = v8::script_compiler::Source::new(source, Some(&origin));
    v8::tc_scope!(let scope, scope);
    let module = v8::script_compiler::compile_module(scope, &mut source)?;
    let code = module
        .get_unbound_module_script(scope)
        .create_code_cache()?;
    Some(Arc::from(&code[..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_of_whoever_has_run_most_is_kept() {
        let code = Code::default();
        assert!(!has_run_enough(0, true), "it has run nothing");
        assert!(!has_run_enough(3, false), "it may run more");
        assert!(has_run_enough(3, true));
        assert!(has_run_enough(EVENTS_OF_MOST_CODE, false));
        assert!(code.is_wanted_of(3));
        assert!(!code.is_wanted_of(3), "no better");
        assert!(code.is_wanted_of(EVENTS_OF_MOST_CODE));
        assert!(!code.is_wanted_of(EVENTS_OF_MOST_CODE + 1));
    }
}
