//! Which scripts an expression may name, as far as the code of its module tells.

use std::collections::HashMap;

use oxc::ast::ast::{Argument, Expression, Program, VariableDeclaration};
use oxc::ast_visit::{Visit, walk};
use oxc::semantic::{Scoping, SymbolId};
use oxc::span::{GetSpan, Span};

/// The scripts that an expression may name, each with the literal that has it.
pub(crate) type Scripts = Vec<(String, Span)>;

/// The constants of a module whose values name scripts.
#[derive(Debug, Default)]
pub(crate) struct Constants(HashMap<SymbolId, Scripts>);

impl Constants {
    /// Those of a module.
    pub fn of(program: &Program<'_>, scoping: &Scoping) -> Self {
        let mut reader = Reader {
            scoping,
            known: Self::default(),
        };
        reader.visit_program(program);
        reader.known
    }

    /// The scripts that `expression` may name: it is a literal, or `new URL(…, import.meta.url)` of one, with or without
    /// `.href`, one of the constants, or a choice between such. Nothing if it may be something else.
    pub fn scripts(&self, scoping: &Scoping, expression: &Expression<'_>) -> Option<Scripts> {
        match expression.get_inner_expression() {
            Expression::ConditionalExpression(choice) => {
                let mut scripts = self.scripts(scoping, &choice.consequent)?;
                scripts.extend(self.scripts(scoping, &choice.alternate)?);
                Some(scripts)
            }
            Expression::Identifier(identifier) => {
                let reference = scoping.get_reference(identifier.reference_id());
                self.0.get(&reference.symbol_id()?).cloned()
            }
            Expression::StaticMemberExpression(member) if member.property.name == "href" => {
                self.scripts(scoping, &member.object)
            }
            Expression::NewExpression(url) if is_global(scoping, &url.callee, "URL") => {
                let mut arguments = url.arguments.iter().map_while(Argument::as_expression);
                let (path, base) = (arguments.next()?, arguments.next()?);
                is_import_meta_url(base)
                    .then(|| self.scripts(scoping, path))
                    .flatten()
            }
            expression => literal(expression).map(|script| vec![script]),
        }
    }
}

/// Reads a module's constants, in the order in which they stand.
struct Reader<'s> {
    scoping: &'s Scoping,
    known: Constants,
}

impl<'a> Visit<'a> for Reader<'_> {
    fn visit_variable_declaration(&mut self, it: &VariableDeclaration<'a>) {
        for one in it.declarations.iter().filter(|_| it.kind.is_const()) {
            if let (Some(identifier), Some(value)) = (one.id.get_binding_identifier(), &one.init)
                && let Some(scripts) = self.known.scripts(self.scoping, value)
            {
                self.known.0.insert(identifier.symbol_id(), scripts);
            }
        }
        walk::walk_variable_declaration(self, it);
    }
}

/// Whether an expression is this name, and the module declares none such.
pub(crate) fn is_global(scoping: &Scoping, expression: &Expression<'_>, name: &str) -> bool {
    let Expression::Identifier(identifier) = expression else {
        return false;
    };
    let reference = scoping.get_reference(identifier.reference_id());
    identifier.name == name && reference.symbol_id().is_none()
}

/// A string, or a template without substitutions.
pub(crate) fn literal(expression: &Expression<'_>) -> Option<(String, Span)> {
    // Types and parentheses do not matter: to the bundler it is the same string.
    let expression = expression.get_inner_expression();
    let text = match expression {
        Expression::StringLiteral(string) => string.value.as_str(),
        Expression::TemplateLiteral(template) if template.expressions.is_empty() => {
            template.quasis.first()?.value.cooked.as_ref()?.as_str()
        }
        _ => return None,
    };
    Some((text.to_owned(), expression.span()))
}

fn is_import_meta_url(expression: &Expression<'_>) -> bool {
    matches!(expression, Expression::StaticMemberExpression(member)
        if member.property.name == "url" && matches!(member.object, Expression::ImportMeta(_)))
}
