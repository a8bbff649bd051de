//! Expressions that people have evaluated in a live instance.

use deno_core::v8;

type Scope<'s, 'i> = v8::PinScope<'s, 'i>;

/// The name of what is compiled, in stacks.
const URL: &str = "portside:expression";

/// An asynchronous function that evaluates `text`, or else what is wrong with it. `module` in it is what the main module exports.
///
/// It is an expression, or, if it cannot be one, statements, of which `return` gives the value.
pub(super) fn compile<'s>(
    scope: &mut Scope<'s, '_>,
    text: &str,
) -> Result<v8::Local<'s, v8::Value>, v8::Local<'s, v8::Value>> {
    // Whoever asks for it may do anything here: that brackets may be closed in it is no concern.
    let expression = function(scope, &format!("return (\n{text}\n);"));
    expression.or_else(|wrong| function(scope, text).map_err(|_| wrong))
}

fn function<'s>(
    scope: &mut Scope<'s, '_>,
    body: &str,
) -> Result<v8::Local<'s, v8::Value>, v8::Local<'s, v8::Value>> {
    let undefined = v8::undefined(scope).into();
    let (Some(url), Some(source)) = (
        v8::String::new(scope, URL),
        v8::String::new(scope, &format!("(async function (module) {{{body}\n}})")),
    ) else {
        return Err(undefined);
    };
    let origin = v8::ScriptOrigin::new(
        scope,
        url.into(),
        0,
        0,
        false,
        0,
        None,
        false,
        false,
        false,
        None,
    );
    v8::tc_scope!(let scope, scope);
    let script = v8::Script::compile(scope, source, Some(&origin));
    let made = script.and_then(|script| script.run(scope));
    made.ok_or_else(|| scope.exception().unwrap_or(undefined))
}
