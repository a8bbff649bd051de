//! The part of the build that is Portside's: what to follow, what to leave to the runtime, what to refuse.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use oxc::ast::ast::{Program, Statement};
use portside_core::bundle::ModuleKind;
use rolldown::plugin::{
    HookResolveIdArgs, HookResolveIdOutput, HookResolveIdReturn, HookTransformAstArgs,
    HookTransformAstReturn, HookUsage, Plugin, PluginContext, PluginContextResolveOptions,
};
use rolldown_common::{EmittedChunk, ImportKind, ResolvedExternal};
use rolldown_error::{DiagnosticOptions, resolve_error_to_message};

use crate::inspect::{Findings, Syntax, Use, WorkerUse, inspect};
use crate::kinds;
use crate::layout::Layout;
use crate::problem::{Place, Problem};
use crate::resolve::{join, source_candidates};
use crate::server::without_fetch;
use crate::wrangler::rules::{Rules, Verdict};

/// Syntax that works only if it is compiled, by the path in the bundle of its module: the source's name, and where.
pub(crate) type NewSyntax = BTreeMap<String, (String, Vec<(Syntax, Place)>)>;

/// What a build has found so far.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub problems: BTreeSet<Problem>,
    pub warnings: BTreeSet<Problem>,
    /// Modules that are not code, by their path in the bundle.
    pub data: BTreeMap<String, Data>,
    /// Names of code modules by what the bundler calls them.
    pub scripts: BTreeMap<String, String>,
    pub new_syntax: NewSyntax,
    uses: HashMap<String, HashMap<String, Vec<Use>>>,
    /// The scripts of workers that the code constructs.
    pub workers: BTreeSet<PathBuf>,
    /// Why the server would answer no request.
    pub without_fetch: Option<Problem>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Data {
    pub file: PathBuf,
    pub kind: ModuleKind,
}

/// The plugin. Its findings are shared with whoever runs the build.
#[derive(Debug)]
pub(crate) struct Portside {
    pub layout: Layout,
    /// The server's file.
    pub main: PathBuf,
    pub rules: Rules,
    pub found: Arc<Mutex<Found>>,
}

impl Portside {
    fn found(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn name(&self, id: &str) -> String {
        self.layout
            .name(Path::new(id))
            .unwrap_or_else(|| id.to_owned())
    }

    /// Reports a specifier at every place where `importer` has it, but for those that expect to fail.
    fn refuse(&self, importer: &str, specifier: &str, message: &str, help: Option<&str>) {
        self.refuse_uses(importer, specifier, |one| !one.optional, message, help);
    }

    fn refuse_uses(
        &self,
        importer: &str,
        specifier: &str,
        which: impl Fn(&Use) -> bool,
        message: &str,
        help: Option<&str>,
    ) {
        let name = self.name(importer);
        let mut found = self.found();
        let places: Vec<Place> = match found.uses.get(importer).and_then(|all| all.get(specifier)) {
            Some(uses) => uses
                .iter()
                .filter(|one| which(one))
                .map(|one| one.place)
                .collect(),
            None => vec![Place::START],
        };
        for place in places {
            let mut problem = Problem::at(&*name, place, message);
            problem.help = help.map(ToOwned::to_owned);
            found.problems.insert(problem);
        }
    }

    /// Whether every use of the specifier expects to fail.
    fn is_optional(&self, importer: &str, specifier: &str) -> bool {
        let found = self.found();
        found
            .uses
            .get(importer)
            .and_then(|uses| uses.get(specifier))
            .is_some_and(|uses| uses.iter().all(|one| one.optional))
    }

    /// Takes note of a file that is no code and has the bundler leave its import in place.
    fn data(
        &self,
        importer: &str,
        args: &HookResolveIdArgs<'_>,
        file: &str,
        kind: ModuleKind,
    ) -> Option<HookResolveIdOutput> {
        let name = self.layout.name(Path::new(file))?;
        if args.kind == ImportKind::Require {
            let message = format!("{name} cannot be loaded with require()");
            self.refuse(importer, args.specifier, &message, Some("use import"));
        } else {
            let message = format!("{name} has a default export only");
            let help = "write: import name from \"…\"";
            self.refuse_uses(
                importer,
                args.specifier,
                |one| one.named,
                &message,
                Some(help),
            );
        }
        let path = kinds::path(&name, kind);
        let id = self.layout.root.join(&path);
        let data = Data {
            file: file.into(),
            kind,
        };
        let other = self.found().data.insert(path, data.clone());
        if let Some(other) = other
            && other != data
        {
            let other = self.name(&other.file.to_string_lossy());
            let message = format!("{name} and {other} would become the same module");
            let help = Some("rename one of them");
            self.refuse(importer, args.specifier, &message, help);
        }
        Some(HookResolveIdOutput {
            external: Some(ResolvedExternal::Relative),
            ..HookResolveIdOutput::from_id(id.to_string_lossy().into_owned())
        })
    }

    async fn resolve(
        &self,
        ctx: &PluginContext,
        importer: &str,
        args: &HookResolveIdArgs<'_>,
    ) -> HookResolveIdReturn {
        let (marked, specifier) = kinds::unmark(args.specifier);
        let left_alone = || HookResolveIdOutput {
            external: Some(ResolvedExternal::Bool(true)),
            ..HookResolveIdOutput::from_id(specifier)
        };
        if specifier == "cloudflare:workers" {
            return Ok(Some(left_alone()));
        }
        if specifier.starts_with("cloudflare:") {
            // Packages that can do without have it in a dynamic import, which may fail.
            if args.kind == ImportKind::Import {
                let message = format!(
                    "\"{specifier}\" is a module of Cloudflare's, which this version of Portside does not have yet"
                );
                self.refuse(importer, args.specifier, &message, None);
            }
            return Ok(Some(left_alone()));
        }
        if is_url(specifier) {
            let message = format!("cannot import \"{specifier}\": modules are not downloaded");
            let help = "install the package, or copy the file into the application";
            self.refuse(importer, args.specifier, &message, Some(help));
            return Ok(Some(left_alone()));
        }
        let options = PluginContextResolveOptions {
            import_kind: args.kind,
            ..PluginContextResolveOptions::default()
        };
        let wanted = specifier.strip_suffix("?module").unwrap_or(specifier);
        let resolved = ctx.resolve(wanted, Some(importer), Some(options)).await?;
        let resolved = match resolved {
            Ok(resolved) if !resolved.external.is_external() => resolved,
            Ok(_) => return Ok(None),
            Err(_) if self.is_optional(importer, args.specifier) => return Ok(None),
            Err(error) => {
                let options = DiagnosticOptions {
                    cwd: self.layout.root.clone(),
                };
                let reason = resolve_error_to_message(&error, &options);
                let (message, help) = unresolved(specifier, &reason);
                self.refuse(importer, args.specifier, &message, help);
                return Ok(Some(left_alone()));
            }
        };
        let file = resolved.id.as_str();
        if !Path::new(file).is_absolute() {
            return Ok(None);
        }
        let relative = specifier.starts_with('.') || specifier.starts_with('/');
        let escapes = relative
            && !self.layout.takes_outside
            && self.layout.contains(Path::new(importer))
            && !self.layout.contains(Path::new(file));
        if escapes || self.layout.name(Path::new(file)).is_none() {
            let message = format!("\"{specifier}\" is outside the application's folder");
            let help = "move the file into the folder, or make it a package";
            self.refuse(importer, args.specifier, &message, Some(help));
            return Ok(Some(left_alone()));
        }
        let kind = match self.rules.verdict(specifier) {
            // Its name alone may have marked it as JSON.
            Verdict::Kind(kind) if matches!(marked, None | Some(ModuleKind::Json)) => Some(kind),
            Verdict::Ignored if marked.is_none() => {
                let message = format!(
                    "a rule for \"{specifier}\" is ignored, for an earlier one of its type has no fallthrough"
                );
                let help = "add fallthrough = true to the earlier rule";
                self.refuse(importer, args.specifier, &message, Some(help));
                return Ok(Some(left_alone()));
            }
            _ => marked.or_else(|| kinds::kind_by_name(file)),
        };
        Ok(kind.and_then(|kind| self.data(importer, args, file, kind)))
    }

    /// Adds the scripts of a module's workers to the build.
    fn follow_workers(
        &self,
        ctx: &PluginContext,
        id: &str,
        workers: Vec<WorkerUse>,
    ) -> anyhow::Result<()> {
        let referrer = self.name(id);
        for WorkerUse { specifier, place } in workers {
            match self.worker_file(&referrer, &specifier) {
                Ok(file) => {
                    if self.found().workers.insert(file.clone()) {
                        ctx.emit_chunk(EmittedChunk {
                            name: None,
                            file_name: None,
                            id: file.to_string_lossy().into_owned(),
                            importer: None,
                            preserve_entry_signatures: None,
                        })?;
                    }
                }
                Err(message) => {
                    self.found()
                        .problems
                        .insert(Problem::at(&*referrer, place, message));
                }
            }
        }
        Ok(())
    }

    fn worker_file(&self, referrer: &str, specifier: &str) -> Result<PathBuf, String> {
        if is_url(specifier) || specifier.contains("://") {
            return Err(format!(
                "worker script \"{specifier}\" must be a path in the application's folder"
            ));
        }
        let path = join(referrer, specifier).ok_or_else(|| {
            format!("worker script \"{specifier}\" is outside the application's folder")
        })?;
        worker_file(&self.layout.root, &path)
            .ok_or_else(|| format!("worker script \"{specifier}\" not found (looked for {path})"))
    }
}

/// The file of the worker script at `path` in the bundle, which may name the JavaScript that TypeScript becomes.
pub(crate) fn worker_file(root: &Path, path: &str) -> Option<PathBuf> {
    source_candidates(path)
        .iter()
        .map(|candidate| root.join(candidate))
        .find(|file| file.is_file())
}

impl Plugin for Portside {
    fn name(&self) -> Cow<'static, str> {
        "portside".into()
    }

    async fn resolve_id(
        &self,
        ctx: &PluginContext,
        args: &HookResolveIdArgs<'_>,
    ) -> HookResolveIdReturn {
        match args.importer {
            Some(importer) => self.resolve(ctx, importer, args).await,
            None => Ok(None),
        }
    }

    async fn transform_ast(
        &self,
        ctx: &PluginContext,
        args: HookTransformAstArgs<'_>,
    ) -> HookTransformAstReturn {
        let mut ast = args.ast;
        let name = self.name(args.id);
        if Path::new(args.id) == self.main {
            let program = ast.program();
            self.found().without_fetch = without_fetch(&name, ast.source(), program);
        }
        let findings: Findings = ast
            .program
            .with_mut(|fields| inspect(&name, fields.source, fields.allocator, fields.program));
        if findings.refused {
            // Leaving it its imports lets the bundler go on, and find their problems too.
            ast.program.with_mut(|fields| keep_imports(fields.program));
        }
        {
            let mut found = self.found();
            found.problems.extend(findings.problems);
            found.warnings.extend(findings.warnings);
            found.uses.insert(args.id.to_owned(), findings.uses);
            if PLACEHOLDERS.iter().any(|one| name.contains(one)) {
                let message = "a path cannot contain [name], [hash, [format] or [ext]";
                let problem = Problem::of_file(&*name, message).help("rename the file");
                found.problems.insert(problem);
            }
            let output = self.layout.output(args.id);
            if !findings.new_syntax.is_empty() {
                let named = (name.clone(), findings.new_syntax);
                found.new_syntax.insert(output.clone(), named);
            }
            if let Some(other) = found.scripts.insert(output, args.id.to_owned())
                && other != args.id
            {
                let message = format!(
                    "{} and {name} would become the same module",
                    self.name(&other)
                );
                let problem = Problem::of_file(name, message).help("remove or rename one of them");
                found.problems.insert(problem);
            }
        }
        self.follow_workers(ctx, args.id, findings.workers)?;
        Ok(ast)
    }

    fn register_hook_usage(&self) -> HookUsage {
        HookUsage::ResolveId | HookUsage::TransformAst
    }
}

fn keep_imports(program: &mut Program<'_>) {
    program.body.retain(|statement| {
        matches!(
            statement,
            Statement::ImportDeclaration(_)
                | Statement::ExportAllDeclaration(_)
                | Statement::ExportFromDeclaration(_)
        )
    });
}

fn is_url(specifier: &str) -> bool {
    ["http:", "https:", "//", "file:"]
        .iter()
        .any(|scheme| specifier.starts_with(scheme))
}

/// Says why a specifier does not resolve, given what the resolver says about it.
fn unresolved(specifier: &str, reason: &str) -> (String, Option<&'static str>) {
    if specifier.starts_with("node:") || NODE_BUILTINS.contains(&specifier) {
        let message =
            format!("\"{specifier}\" is a built-in module of Node.js, which workers do not have");
        return (
            message,
            Some("use the web platform's APIs, or a package made for browsers or workers"),
        );
    }
    let relative = specifier.starts_with('.') || specifier.starts_with('/');
    if relative {
        return (format!("cannot find \"{specifier}\""), None);
    }
    if reason == "Package subpath is not defined by exports" {
        return (
            format!("\"{specifier}\" is not exported by its package"),
            None,
        );
    }
    if reason != "Cannot find module" {
        return (format!("cannot resolve \"{specifier}\": {reason}"), None);
    }
    (
        format!("cannot find package \"{specifier}\""),
        Some("install it with your package manager; nothing is downloaded here"),
    )
}

/// What the bundler would replace in the paths it is given.
const PLACEHOLDERS: [&str; 4] = ["[name]", "[hash", "[format]", "[ext]"];

/// Names that only Node.js gives a meaning, when no package of that name is installed.
const NODE_BUILTINS: [&str; 32] = [
    "assert",
    "async_hooks",
    "buffer",
    "child_process",
    "cluster",
    "crypto",
    "dgram",
    "diagnostics_channel",
    "dns",
    "events",
    "fs",
    "fs/promises",
    "http",
    "http2",
    "https",
    "module",
    "net",
    "os",
    "path",
    "perf_hooks",
    "process",
    "querystring",
    "readline",
    "stream",
    "string_decoder",
    "timers",
    "tls",
    "url",
    "util",
    "v8",
    "worker_threads",
    "zlib",
];
