//! What one module refers to, read from its syntax tree.

use std::collections::{BTreeSet, HashMap};

use oxc::allocator::{Allocator, FromIn};
use oxc::ast::ast::{
    AccessorProperty, Argument, CallExpression, Decorator, ExportAllDeclaration,
    ExportFromDeclaration, Expression, ImportDeclaration, ImportDeclarationSpecifier,
    ImportExpression, ModuleExportName, NewExpression, Program, PropertyKey, StringLiteral,
    TSExternalModuleReference, TryStatement, WithClause,
};
use oxc::ast_visit::{Visit, VisitMut, walk, walk_mut};
use oxc::diagnostics::Severity;
use oxc::parser::Parser;
use oxc::semantic::{Scoping, SemanticBuilder};
use oxc::span::{GetSpan, SourceType, Span};
use oxc::str::Str;
use portside_core::bundle::ModuleKind;

use crate::kinds;
use crate::problem::{Place, Problem};
use crate::scripts::{Constants, is_global, literal};

/// The global constructor whose first argument names a module.
const CONSTRUCTOR: &str = "ServerlessWorker";

/// Where and how a specifier is used.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Use {
    pub place: Place,
    /// A `require` inside `try`: failing is expected.
    pub optional: bool,
    /// Something other than the default export is asked for.
    pub named: bool,
}

/// A `new ServerlessWorker(…)` whose script is known.
#[derive(Debug)]
pub(crate) struct WorkerUse {
    pub specifier: String,
    pub place: Place,
}

/// Syntax that this engine does not have yet. TypeScript may compile it to other syntax.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Syntax {
    Decorator,
    Accessor,
}

impl Syntax {
    /// What to say of it, and what helps.
    pub(crate) fn refusal(self) -> (&'static str, &'static str) {
        match self {
            Self::Decorator => (
                "decorators are not supported yet",
                "set \"experimentalDecorators\" in tsconfig.json to have TypeScript's older ones compiled, or call the function",
            ),
            Self::Accessor => (
                "accessor fields are not supported yet",
                "write a getter and a setter",
            ),
        }
    }
}

/// Finds unsupported syntax in code that was compiled already.
#[derive(Default)]
struct Left(BTreeSet<Syntax>);

impl<'a> Visit<'a> for Left {
    fn visit_decorator(&mut self, _: &Decorator<'a>) {
        self.0.insert(Syntax::Decorator);
    }

    fn visit_accessor_property(&mut self, it: &AccessorProperty<'a>) {
        self.0.insert(Syntax::Accessor);
        walk::walk_accessor_property(self, it);
    }
}

/// The unsupported syntax in `code`, JavaScript that was compiled already.
pub(crate) fn unsupported(code: &str) -> BTreeSet<Syntax> {
    let allocator = Allocator::default();
    let parsed = Parser::new(&allocator, code, SourceType::mjs()).parse();
    let mut left = Left::default();
    left.visit_program(&parsed.program);
    left.0
}

/// Everything found in one module.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// By specifier as the bundler will see it.
    pub uses: HashMap<String, Vec<Use>>,
    pub workers: Vec<WorkerUse>,
    /// Where there is syntax that works only if it is compiled.
    pub new_syntax: Vec<(Syntax, Place)>,
    pub problems: Vec<Problem>,
    /// Workers whose scripts cannot be told.
    pub warnings: Vec<Problem>,
    /// Some problem is an early error, so that the bundler will refuse the module.
    pub refused: bool,
}

/// Reads a module, and rewrites the specifiers whose kind depends on how they are imported ([`kinds::mark`]).
///
/// Reports the early errors that a parser alone does not see, such as names declared twice.
pub(crate) fn inspect<'a>(
    path: &str,
    source: &str,
    allocator: &'a Allocator,
    program: &mut Program<'a>,
) -> Findings {
    let semantic = SemanticBuilder::new()
        .with_check_syntax_error(true)
        .build(program);
    let problems: Vec<Problem> = semantic
        .diagnostics
        .into_iter()
        .filter(|diagnostic| diagnostic.severity == Severity::Error)
        .map(|diagnostic| {
            let offset = diagnostic.labels.first().map_or(0, |label| label.offset());
            Problem {
                help: diagnostic.help.as_ref().map(ToString::to_string),
                ..Problem::at(
                    path,
                    Place::of(source, offset as usize),
                    diagnostic.message.to_string(),
                )
            }
        })
        .collect();
    let scoping = semantic.semantic.into_scoping();
    let mut inspector = Inspector {
        path,
        source,
        allocator,
        constants: Constants::of(program, &scoping),
        scoping,
        tries: 0,
        found: Findings {
            refused: !problems.is_empty(),
            problems,
            ..Findings::default()
        },
    };
    inspector.visit_program(program);
    inspector.found
}

struct Inspector<'s, 'a> {
    path: &'s str,
    source: &'s str,
    allocator: &'a Allocator,
    scoping: Scoping,
    constants: Constants,
    /// How many `try` blocks surround the current node.
    tries: usize,
    found: Findings,
}

impl<'a> Inspector<'_, 'a> {
    fn place(&self, span: Span) -> Place {
        Place::of(self.source, span.start as usize)
    }

    fn record(&mut self, specifier: &str, span: Span, named: bool, optional: bool) {
        let place = self.place(span);
        let uses = self.found.uses.entry(specifier.to_owned()).or_default();
        uses.push(Use {
            place,
            optional,
            named,
        });
    }

    /// Records a static import and, where the import itself decides what the module is, says so in the specifier.
    fn import(
        &mut self,
        source: &mut StringLiteral<'a>,
        with: Option<&WithClause<'a>>,
        named: bool,
    ) {
        let kind = match with.and_then(attribute_type) {
            Some((kind, span)) => self.attribute_kind(&kind, span),
            None if !named => kinds::json_by_name(&source.value),
            None => None,
        };
        if let Some(kind) = kind {
            source.value = Str::from_in(kinds::mark(kind, &source.value), self.allocator);
            source.raw = None;
        }
        self.record(&source.value, source.span, named, false);
    }

    fn attribute_kind(&mut self, kind: &str, span: Span) -> Option<ModuleKind> {
        let known = kinds::kind_of_attribute(kind);
        if known.is_none() {
            let message = format!("import attribute type \"{kind}\" is not known");
            let problem = Problem::at(self.path, self.place(span), message)
                .help("use \"json\", \"text\" or \"bytes\"");
            self.found.problems.push(problem);
        }
        known
    }

    fn is_global(&self, expression: &Expression<'a>, name: &str) -> bool {
        is_global(&self.scoping, expression, name)
    }

    /// `ServerlessWorker`, or that of `globalThis` or `self`, unless the name is declared in this module.
    fn is_constructor(&self, callee: &Expression<'a>) -> bool {
        match callee {
            Expression::StaticMemberExpression(member) => {
                member.property.name == CONSTRUCTOR
                    && (self.is_global(&member.object, "globalThis")
                        || self.is_global(&member.object, "self"))
            }
            callee => self.is_global(callee, CONSTRUCTOR),
        }
    }

    /// Takes note of the scripts that a worker may have, or that it cannot be told which.
    fn worker(&mut self, it: &NewExpression<'a>) {
        let Some(argument) = it.arguments.first() else {
            return; // it throws
        };
        let script = argument.as_expression();
        let scripts = script.and_then(|script| self.constants.scripts(&self.scoping, script));
        match scripts {
            Some(scripts) => {
                for (specifier, span) in scripts {
                    let place = self.place(span);
                    self.found.workers.push(WorkerUse { specifier, place });
                }
            }
            None => {
                let message = "which script this worker has cannot be told from the code: name those that it may have in \
                               spec.code.include of class.yaml, or in portside.workers of package.json, or they are missing at \
                               run time";
                let place = self.place(argument.span());
                let warning = Problem::at(self.path, place, message);
                self.found.warnings.push(warning);
            }
        }
    }
}

impl<'a> VisitMut<'a> for Inspector<'_, 'a> {
    fn visit_import_declaration(&mut self, it: &mut ImportDeclaration<'a>) {
        if it.import_kind.is_type() {
            return;
        }
        let named = it.specifiers.iter().flatten().any(|one| match one {
            ImportDeclarationSpecifier::ImportDefaultSpecifier(_) => false,
            ImportDeclarationSpecifier::ImportNamespaceSpecifier(_) => true,
            ImportDeclarationSpecifier::ImportSpecifier(one) => {
                !one.import_kind.is_type() && !is_default(&one.imported)
            }
        });
        let with = it.with_clause.take();
        self.import(&mut it.source, with.as_deref(), named);
    }

    fn visit_export_from_declaration(&mut self, it: &mut ExportFromDeclaration<'a>) {
        if it.export_kind.is_type() {
            return;
        }
        let named = it.specifiers.iter().any(|one| !is_default(&one.local));
        let with = it.with_clause.take();
        self.import(&mut it.source, with.as_deref(), named);
    }

    fn visit_export_all_declaration(&mut self, it: &mut ExportAllDeclaration<'a>) {
        if !it.export_kind.is_type() {
            let with = it.with_clause.take();
            self.import(&mut it.source, with.as_deref(), true);
        }
    }

    fn visit_import_expression(&mut self, it: &mut ImportExpression<'a>) {
        let kind = match it.options.as_ref().and_then(option_type) {
            Some((kind, span)) => self.attribute_kind(&kind, span),
            None => literal(&it.source).and_then(|(path, _)| kinds::json_by_name(&path)),
        };
        if let Some((path, span)) = literal(&it.source) {
            let path = kind.map_or(path.clone(), |kind| kinds::mark(kind, &path));
            self.record(&path, span, false, false);
            if kind.is_some() {
                let value = Str::from_in(path, self.allocator);
                it.source = Expression::new_string_literal(
                    span,
                    value,
                    None,
                    &oxc::ast::builder::AstBuilder::new(self.allocator),
                );
                it.options = None;
            }
        }
        walk_mut::walk_import_expression(self, it);
    }

    fn visit_ts_external_module_reference(&mut self, it: &mut TSExternalModuleReference<'a>) {
        self.record(&it.expression.value, it.expression.span, false, false);
    }

    fn visit_call_expression(&mut self, it: &mut CallExpression<'a>) {
        if self.is_global(&it.callee, "require")
            && let Some(path) = it.arguments.first().and_then(Argument::as_expression)
            && let Some((path, span)) = literal(path)
        {
            self.record(&path, span, false, self.tries > 0);
        }
        walk_mut::walk_call_expression(self, it);
    }

    fn visit_decorator(&mut self, it: &mut Decorator<'a>) {
        let place = self.place(it.span);
        self.found.new_syntax.push((Syntax::Decorator, place));
        walk_mut::walk_decorator(self, it);
    }

    fn visit_accessor_property(&mut self, it: &mut AccessorProperty<'a>) {
        let place = self.place(it.span);
        self.found.new_syntax.push((Syntax::Accessor, place));
        walk_mut::walk_accessor_property(self, it);
    }

    fn visit_try_statement(&mut self, it: &mut TryStatement<'a>) {
        self.tries += 1;
        self.visit_block_statement(&mut it.block);
        self.tries -= 1;
        if let Some(handler) = &mut it.handler {
            self.visit_catch_clause(handler);
        }
        if let Some(finalizer) = &mut it.finalizer {
            self.visit_block_statement(finalizer);
        }
    }

    fn visit_new_expression(&mut self, it: &mut NewExpression<'a>) {
        if self.is_constructor(&it.callee) {
            self.worker(it);
        }
        walk_mut::walk_new_expression(self, it);
    }
}

fn is_default(name: &ModuleExportName<'_>) -> bool {
    name.name() == "default"
}

fn attribute_type(with: &WithClause<'_>) -> Option<(String, Span)> {
    with.with_entries
        .iter()
        .find(|entry| entry.key.as_arena_str() == "type")
        .map(|entry| (entry.value.value.to_string(), entry.value.span))
}

/// The type in `{ with: { type: "…" } }`.
fn option_type(options: &Expression<'_>) -> Option<(String, Span)> {
    literal(property(property(options, "with")?, "type")?)
}

fn property<'e, 'a>(object: &'e Expression<'a>, name: &str) -> Option<&'e Expression<'a>> {
    let Expression::ObjectExpression(object) = object else {
        return None;
    };
    object.properties.iter().find_map(|property| {
        let property = property.as_property()?;
        let key = match &property.key {
            PropertyKey::StaticIdentifier(key) => key.name.as_str(),
            PropertyKey::StringLiteral(key) => key.value.as_str(),
            _ => return None,
        };
        (key == name).then_some(&property.value)
    })
}
