//! Whether the server's module can have a `fetch` handler, or a `scheduled` one, as far as its syntax tells.

use oxc::ast::ast::{
    ExportDefaultDeclaration, ExportDefaultDeclarationKind, Expression, ObjectPropertyKind,
    Program, Statement,
};
use oxc::span::{GetSpan, Span};

use crate::problem::{Place, Problem};

const NO_FETCH: &str = "the server's default export has no fetch() handler";
const NO_DEFAULT: &str = "the server has no default export";
const HELP: &str = "write: export default { fetch(request) { return new Response(\"hello\"); } };";

/// Why no request will be answered by this module, which is the server's. Nothing if only running it could tell, or if
/// crons are what it may be there for.
pub(crate) fn without_fetch(name: &str, source: &str, program: &Program<'_>) -> Option<Problem> {
    let default = program.body.iter().find_map(|statement| match statement {
        Statement::ExportDefaultDeclaration(declaration) => Some(declaration),
        _ => None,
    });
    let problem = match default {
        Some(declaration) => {
            let place = Place::of(source, certainly_without(declaration)?.start as usize);
            Problem::at(name, place, NO_FETCH)
        }
        None if may_have_default(source, program) => return None,
        None => Problem::of_file(name, NO_DEFAULT),
    };
    Some(problem.help(HELP))
}

/// What is exported, if it cannot have a method that is a handler.
fn certainly_without(declaration: &ExportDefaultDeclaration<'_>) -> Option<Span> {
    use ExportDefaultDeclarationKind as Kind;
    match &declaration.declaration {
        // What has a name may be given one elsewhere.
        Kind::FunctionDeclaration(function) => function.id.is_none().then_some(function.span),
        Kind::ClassDeclaration(_) | Kind::TSInterfaceDeclaration(_) => None,
        kind => {
            let expression = kind.as_expression()?.get_inner_expression();
            let is_without = match expression {
                Expression::ObjectExpression(object) => {
                    !object.properties.iter().any(may_give_handler)
                }
                expression => is_literal(expression),
            };
            is_without.then(|| expression.span())
        }
    }
}

fn may_give_handler(property: &ObjectPropertyKind<'_>) -> bool {
    let ObjectPropertyKind::ObjectProperty(property) = property else {
        return true;
    };
    match property.key.static_name() {
        Some(name) if name == "fetch" || name == "scheduled" => !is_plain(&property.value),
        Some(name) => name == "__proto__",
        None => true,
    }
}

/// Whether it is a value that has no methods of the application's.
fn is_literal(expression: &Expression<'_>) -> bool {
    let is_function = matches!(
        expression,
        Expression::ArrowFunctionExpression(_) | Expression::FunctionExpression(_)
    );
    is_function || is_plain(expression)
}

/// Whether it is a value that is no function.
fn is_plain(expression: &Expression<'_>) -> bool {
    matches!(
        expression.get_inner_expression(),
        Expression::StringLiteral(_)
            | Expression::TemplateLiteral(_)
            | Expression::NumericLiteral(_)
            | Expression::BigIntLiteral(_)
            | Expression::BooleanLiteral(_)
            | Expression::NullLiteral(_)
            | Expression::RegExpLiteral(_)
            | Expression::ArrayExpression(_)
            | Expression::ObjectExpression(_)
    )
}

/// Whether something else than `export default` may export it: a list, TypeScript, or CommonJS.
fn may_have_default(source: &str, program: &Program<'_>) -> bool {
    let mut is_es = false;
    for statement in &program.body {
        let named = match statement {
            Statement::ExportNamedDeclaration(list) => &list.specifiers,
            Statement::ExportFromDeclaration(list) => &list.specifiers,
            Statement::ExportAllDeclaration(all) => {
                is_es = true;
                if all
                    .exported
                    .as_ref()
                    .is_some_and(|it| it.name() == "default")
                {
                    return true;
                }
                continue;
            }
            Statement::TSExportAssignment(_) => return true,
            Statement::ImportDeclaration(_) | Statement::ExportDeclaration(_) => {
                is_es = true;
                continue;
            }
            _ => continue,
        };
        is_es = true;
        if named.iter().any(|one| one.exported.name() == "default") {
            return true;
        }
    }
    !is_es && source.contains("exports")
}
