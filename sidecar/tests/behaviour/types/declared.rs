//! What a file of declarations declares.

use std::collections::{BTreeMap, BTreeSet};

use oxc::allocator::Allocator;
use oxc::ast::ast::{
    Class, ClassElement, Expression, MethodDefinitionKind, Statement, TSInterfaceDeclaration,
    TSSignature, TSTypeName,
};
use oxc::parser::Parser;
use oxc::span::SourceType;

/// All that some files declare.
#[derive(Debug, Default)]
pub struct Declared {
    /// Names of values.
    pub globals: BTreeSet<String>,
    /// Classes and interfaces.
    pub types: BTreeMap<String, Type>,
}

/// A class or an interface.
#[derive(Debug, Default, Clone)]
pub struct Type {
    pub bases: BTreeSet<String>,
    /// With whether it may be missing.
    pub members: BTreeMap<String, bool>,
    pub statics: BTreeSet<String>,
}

impl Declared {
    /// Adds what a script of declarations declares; what its `declare module`s do is not looked at.
    pub fn read(&mut self, source: &str) {
        let allocator = Allocator::default();
        let parsed = Parser::new(&allocator, source, SourceType::d_ts()).parse();
        assert!(parsed.diagnostics.is_empty(), "{:?}", parsed.diagnostics);
        for statement in &parsed.program.body {
            match statement {
                Statement::VariableDeclaration(it) => {
                    let names = it
                        .declarations
                        .iter()
                        .flat_map(|one| one.id.get_identifier_name());
                    self.globals.extend(names.map(|name| name.to_string()));
                }
                Statement::FunctionDeclaration(it) => {
                    self.globals
                        .insert(it.id.as_ref().unwrap().name.to_string());
                }
                Statement::ClassDeclaration(it) => {
                    let name = it.id.as_ref().unwrap().name.to_string();
                    self.globals.insert(name.clone());
                    self.types.entry(name).or_default().add_class(it);
                }
                Statement::TSInterfaceDeclaration(it) => {
                    let name = it.id.name.to_string();
                    self.types.entry(name).or_default().add_interface(it);
                }
                Statement::TSExternalModuleDeclaration(_) => {}
                other => panic!("what is declared here is not known: {other:?}"),
            }
        }
    }

    /// A type with what it inherits from others of these; its bases are then those that are declared elsewhere.
    pub fn whole(&self, name: &str) -> Type {
        let mut whole = self.types[name].clone();
        for base in std::mem::take(&mut whole.bases) {
            if self.types.contains_key(&base) {
                let inherited = self.whole(&base);
                whole.bases.extend(inherited.bases);
                whole.members.extend(inherited.members);
            } else {
                whole.bases.insert(base);
            }
        }
        whole
    }
}

impl Type {
    fn add_class(&mut self, class: &Class<'_>) {
        if let Some(heritage) = &class.heritage {
            let Expression::Identifier(base) = &heritage.expression else {
                panic!("a base that is not a name");
            };
            self.bases.insert(base.name.to_string());
        }
        for element in &class.body.body {
            let (optional, is_constructor) = match element {
                ClassElement::MethodDefinition(it) => {
                    (it.optional, it.kind == MethodDefinitionKind::Constructor)
                }
                ClassElement::PropertyDefinition(it) => (it.optional, false),
                _ => panic!("an element of a class that is not known"),
            };
            // Symbols have no static names, and are not looked at.
            let Some(name) = element.static_name() else {
                continue;
            };
            if is_constructor {
                continue;
            }
            if element.r#static() {
                self.statics.insert(name.into_owned());
            } else {
                self.members.insert(name.into_owned(), optional);
            }
        }
    }

    fn add_interface(&mut self, interface: &TSInterfaceDeclaration<'_>) {
        for base in &interface.extends {
            let TSTypeName::IdentifierReference(base) = &base.type_name else {
                panic!("a base that is not a name");
            };
            self.bases.insert(base.name.to_string());
        }
        for member in &interface.body.body {
            let (key, optional) = match member {
                TSSignature::TSPropertySignature(it) => (&it.key, it.optional),
                TSSignature::TSMethodSignature(it) => (&it.key, it.optional),
                _ => panic!("a member of an interface that is not known"),
            };
            if let Some(name) = key.static_name() {
                self.members.insert(name.into_owned(), optional);
            }
        }
    }
}
