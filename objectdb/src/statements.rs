//! Texts of SQL, prepared, and kept to be executed again.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use rusqlite::ffi;

use crate::limits::Limits;
use crate::sqlite::Statement;

/// A text: statements of which all but the last are executed for what they do alone.
pub struct Program {
    pub text: Rc<str>,
    pub before: Vec<Statement>,
    pub last: Statement,
    /// The names of the last one's columns, and how often it had been prepared anew when they were read.
    names: Option<(u64, Rc<[String]>)>,
    /// Of SQLite's memory, in bytes.
    bytes: usize,
    /// Whether it is worth that: what defines tables an object executes once.
    is_kept: bool,
}

impl Program {
    pub fn new(text: &str, before: Vec<Statement>, last: Statement) -> Self {
        let all = || before.iter().chain([&last]);
        let memory = all().map(|one| one.counter(ffi::SQLITE_STMTSTATUS_MEMUSED));
        let is_kept = !all().any(|one| one.asked().defines);
        let bytes = usize::try_from(memory.sum::<u64>()).unwrap_or(usize::MAX);
        Self {
            bytes: bytes.saturating_add(text.len()),
            text: text.into(),
            before,
            last,
            names: None,
            is_kept,
        }
    }

    /// The names of the last statement's columns, which has been executed.
    pub fn names(&mut self) -> Rc<[String]> {
        let prepared = self.last.counter(ffi::SQLITE_STMTSTATUS_REPREPARE);
        match &self.names {
            Some((then, names)) if *then == prepared => names.clone(),
            _ => {
                let names: Rc<[String]> = self.last.column_names().into();
                self.names = Some((prepared, names.clone()));
                names
            }
        }
    }
}

/// Programs that are not running, as many as the limits allow: those that were used last.
#[derive(Default)]
pub struct Cache(RefCell<Kept>);

#[derive(Default)]
struct Kept {
    programs: HashMap<Rc<str>, (u64, Program)>,
    bytes: usize,
    /// Counts what is put here.
    clock: u64,
}

impl Cache {
    /// Takes a program out of the cache, if it is there.
    pub fn take(&self, text: &str) -> Option<Program> {
        let mut kept = self.0.borrow_mut();
        let (_, program) = kept.programs.remove(text)?;
        kept.bytes -= program.bytes;
        Some(program)
    }

    /// Keeps a program that has been reset, if it is worth that.
    pub fn put(&self, program: Program, limits: &Limits) {
        if !program.is_kept {
            return;
        }
        let mut kept = self.0.borrow_mut();
        kept.clock += 1;
        kept.bytes += program.bytes;
        let entry = (kept.clock, program);
        if let Some((_, same)) = kept.programs.insert(entry.1.text.clone(), entry) {
            kept.bytes -= same.bytes;
        }
        while kept.programs.len() > limits.cached_statements || kept.bytes > limits.cached_bytes {
            kept.drop_oldest();
        }
    }

    /// Drops all of them.
    pub fn clear(&self) {
        self.0.take();
    }
}

impl Kept {
    fn drop_oldest(&mut self) {
        let oldest = self.programs.iter().min_by_key(|(_, (used, _))| *used);
        let Some(text) = oldest.map(|(text, _)| text.clone()) else {
            self.bytes = 0;
            return;
        };
        if let Some((_, program)) = self.programs.remove(&text) {
            self.bytes -= program.bytes;
        }
    }
}
