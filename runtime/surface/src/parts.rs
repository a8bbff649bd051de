//! Parts of the surface, which an isolate loads when it first uses them. `js/parts.js` says what a part is.

use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use deno_core::{JsRuntime, OpState, op2, v8};
use deno_error::JsErrorBox;

/// The sources of all parts that are not in the snapshot, by specifier: bodies of functions of `__bootstrap`.
pub type Sources = &'static [(&'static str, v8::OneByteConst)];

/// After this many events an instance has run most of what instances like it run.
pub const EVENTS_OF_MOST_CODE: usize = 16;

type Scope<'s, 'i> = v8::PinScope<'s, 'i>;

/// What is compiled of the parts, for all isolates of a process: V8's code cache of each, with the functions that were run.
#[derive(Default)]
pub struct CompiledParts(Mutex<HashMap<&'static str, Compiled>>);

struct Compiled {
    code: Arc<[u8]>,
    /// Events that the instance had run whose code this is.
    events: usize,
}

impl CompiledParts {
    fn lock(&self) -> MutexGuard<'_, HashMap<&'static str, Compiled>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of(&self, specifier: &str) -> Option<Arc<[u8]>> {
        Some(self.lock().get(specifier)?.code.clone())
    }

    /// Whether what an instance that has run so many events has compiled of a part is better than what is known.
    fn is_wanted(&self, specifier: &str, events: usize) -> bool {
        let known = self.lock().get(specifier).map(|known| known.events);
        known.is_none_or(|known| known < events)
    }

    /// Bytes of all of it.
    #[must_use]
    pub fn size(&self) -> usize {
        self.lock().values().map(|known| known.code.len()).sum()
    }
}

/// The parts of one isolate. Must be dropped while that is entered.
pub struct Parts {
    sources: Sources,
    compiled: Arc<CompiledParts>,
    loaded: Vec<(&'static str, v8::Global<v8::Function>)>,
}

impl Parts {
    /// Of an isolate that has loaded none.
    #[must_use]
    pub fn new(sources: Sources, compiled: Arc<CompiledParts>) -> Self {
        Self {
            sources,
            compiled,
            loaded: Vec::new(),
        }
    }

    /// Gives away what is compiled of the loaded parts in an instance that has run so many events, where that is better than
    /// what is known: each part has the functions of whoever ran most.
    pub fn keep_code(&self, scope: &mut Scope<'_, '_>, events: usize) {
        let events = events.min(EVENTS_OF_MOST_CODE);
        for (specifier, function) in &self.loaded {
            if !self.compiled.is_wanted(specifier, events) {
                continue;
            }
            if let Some(code) = v8::Local::new(scope, function).create_code_cache() {
                let code = Arc::from(&code[..]);
                let mut known = self.compiled.lock();
                known.insert(specifier, Compiled { code, events });
            }
        }
    }

    fn compile<'s>(
        &mut self,
        scope: &mut Scope<'s, '_>,
        specifier: &str,
    ) -> Result<v8::Local<'s, v8::Function>, JsErrorBox> {
        let part = self.sources.iter().find(|(name, _)| *name == specifier);
        let (specifier, source) =
            part.ok_or_else(|| JsErrorBox::generic(format!("there is no {specifier}")))?;
        let too_little = || JsErrorBox::generic("no memory is left for a part of the surface");
        let text = v8::String::new_from_onebyte_const(scope, source).ok_or_else(too_little)?;
        let name = v8::String::new(scope, specifier).ok_or_else(too_little)?;
        let parameter = v8::String::new(scope, "__bootstrap").ok_or_else(too_little)?;
        // As deno_core has it.
        let origin = v8::ScriptOrigin::new(
            scope,
            name.into(),
            0,
            0,
            false,
            -1,
            None,
            false,
            false,
            false,
            None,
        );
        let known = self.compiled.of(specifier);
        let (mut source, options) = match &known {
            Some(code) => (
                v8::script_compiler::Source::new_with_cached_data(
                    text,
                    Some(&origin),
                    v8::CachedData::new(code),
                ),
                v8::script_compiler::CompileOptions::ConsumeCodeCache,
            ),
            None => (
                v8::script_compiler::Source::new(text, Some(&origin)),
                v8::script_compiler::CompileOptions::NoCompileOptions,
            ),
        };
        let function = v8::script_compiler::compile_function(
            scope,
            &mut source,
            &[parameter],
            &[],
            options,
            v8::script_compiler::NoCacheReason::NoReason,
        )
        .ok_or_else(too_little)?;
        if source
            .get_cached_data()
            .is_some_and(v8::CachedData::rejected)
        {
            tracing::warn!(specifier, "V8 refused the code that it had compiled itself");
            self.compiled.lock().remove(specifier);
        }
        self.loaded
            .push((specifier, v8::Global::new(scope, function)));
        Ok(function)
    }
}

/// A part as a function of `__bootstrap`, whose result are its exports; null while the snapshot is made.
#[op2]
pub(crate) fn op_part<'s>(
    state: &mut OpState,
    scope: &mut v8::PinScope<'s, '_>,
    #[string] specifier: &str,
) -> Result<v8::Local<'s, v8::Value>, JsErrorBox> {
    match state.try_borrow_mut::<Parts>() {
        Some(parts) => parts.compile(scope, specifier).map(Into::into),
        None => Ok(v8::null(scope).into()),
    }
}

/// Gives the global object a property whose value is asked for when somebody first looks at it, by its name, of what
/// [`op_when_looked_at`] was given. Nobody sees that it was not there from the start.
#[op2(nofast)] // it is called while the snapshot is made
pub(crate) fn op_define_lazily(
    scope: &mut v8::PinScope<'_, '_>,
    #[string] name: &str,
    enumerable: bool,
) -> Result<(), JsErrorBox> {
    let attributes = if enumerable {
        v8::PropertyAttribute::NONE
    } else {
        v8::PropertyAttribute::DONT_ENUM
    };
    let key = v8::String::new(scope, name);
    match key.and_then(|key| define_lazily(scope, key.into(), attributes)) {
        Some(true) => Ok(()),
        _ => Err(JsErrorBox::generic(format!("{name} cannot be defined"))),
    }
}

/// False if there is a property of this name that cannot be configured.
fn define_lazily<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    name: v8::Local<'s, v8::Name>,
    attributes: v8::PropertyAttribute,
) -> Option<bool> {
    let global = scope.get_current_context().global(scope);
    global.set_lazy_data_property_with_data(
        scope,
        name,
        look,
        name.into(), // not used, and in a snapshot no object may be here
        attributes,
        v8::SideEffectType::HasSideEffect,
        v8::SideEffectType::HasSideEffect,
    )
}

/// Gives values of lazy properties, by their names.
pub struct Lookup(v8::Global<v8::Function>);

/// Sets what gives this isolate's lazy properties their values. Before it is set they are undefined, for good.
#[op2]
pub(crate) fn op_when_looked_at(state: &mut OpState, #[scoped] lookup: v8::Global<v8::Function>) {
    state.put(Lookup(lookup));
}

/// Looks at a property that was defined by [`op_define_lazily`].
fn look<'s>(
    scope: &mut v8::PinScope<'s, '_>,
    name: v8::Local<'s, v8::Name>,
    _: v8::PropertyCallbackArguments<'s>,
    mut value: v8::ReturnValue<'_>,
) {
    let state = JsRuntime::op_state_from(scope);
    let lookup = state
        .borrow()
        .try_borrow::<Lookup>()
        .map(|lookup| lookup.0.clone());
    let Some(lookup) = lookup else { return };
    let undefined = v8::undefined(scope).into();
    // What it throws is thrown where somebody looked.
    let Some(got) = v8::Local::new(scope, lookup).call(scope, undefined, &[name.into()]) else {
        return;
    };
    // V8 gives the value to the lazy property, and ends the process if there is none any more: the application may have run
    // meanwhile, and have looked at it, too, or have replaced or deleted it.
    let global = scope.get_current_context().global(scope);
    let attributes = global
        .get_real_named_property_attributes(scope, name)
        .unwrap_or(v8::PropertyAttribute::DONT_ENUM);
    if define_lazily(scope, name, attributes) == Some(true) {
        value.set(got);
    } else if let Some(message) = v8::String::new(scope, "the global was defined meanwhile") {
        let error = v8::Exception::type_error(scope, message);
        scope.throw_exception(error);
    }
}

/// What a snapshot refers to.
pub(crate) fn external_references() -> Vec<v8::ExternalReference> {
    let getter: v8::AccessorNameGetterCallback = v8::MapFnTo::map_fn_to(look);
    vec![v8::ExternalReference {
        pointer: getter as *mut c_void,
    }]
}
