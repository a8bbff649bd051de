//! Runs the bundler and collects its output.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use portside_core::bundle::{Bundle, Module, ModuleKind};
use rolldown::{BundleOutput, Bundler, TsConfig};
use rolldown_common::{Output, OutputChunk};
use rolldown_error::{BatchedBuildDiagnostic, EventKind};

use crate::entry::Entry;
use crate::include::Included;
use crate::inspect::unsupported;
use crate::kinds;
use crate::layout::Layout;
use crate::options::{OUT, options};
use crate::plugin::{Data, Found, NewSyntax, Portside};
use crate::problem::{Place, Problem};

/// A bundle and the files it was read from.
pub(crate) struct Built {
    pub bundle: Bundle,
    pub inputs: BTreeSet<PathBuf>,
    /// The scripts of workers, by their paths in the bundle.
    pub workers: Vec<String>,
    /// Why the server would answer no request.
    pub without_fetch: Option<Problem>,
    /// What had no effect, and workers whose scripts cannot be told from the code.
    pub warnings: Vec<Problem>,
}

/// What the bundler made, or what it says is wrong.
struct Attempt {
    generated: Result<BundleOutput, BatchedBuildDiagnostic>,
    found: Found,
    inputs: BTreeSet<PathBuf>,
}

/// Bundles an application.
///
/// # Errors
/// Every problem of every module, sorted.
pub(crate) async fn build(entry: &Entry) -> Result<Built, Vec<Problem>> {
    let Entry {
        layout,
        workers,
        included,
        rules,
        ..
    } = entry;
    let Some(main) = &entry.main else {
        return Ok(Built {
            bundle: Bundle::without_server(),
            inputs: BTreeSet::new(),
            workers: vec![],
            without_fetch: None,
            warnings: vec![],
        });
    };
    let files: BTreeSet<&Path> = ([main].into_iter())
        .chain(workers)
        .chain(&included.scripts)
        .map(PathBuf::as_path)
        .collect();
    let mut attempt = attempt(entry, main, &files, true).await?;
    let mut warnings = vec![];
    if rules.is_some() {
        warnings = broken_tsconfigs(layout, &attempt.generated);
        if !warnings.is_empty() {
            attempt = self::attempt(entry, main, &files, false).await?;
        }
    }
    let Attempt {
        generated,
        mut found,
        mut inputs,
    } = attempt;
    let mut problems = found.problems;
    let output = match generated {
        Ok(output) => Some(output),
        Err(errors) => {
            problems.extend(news(layout, &problems, &errors));
            None
        }
    };
    found.data.extend(included_data(layout, included));
    let mut modules = BTreeMap::new();
    for (path, data) in found.data {
        match read_data(&data.file, data.kind) {
            Ok(module) => {
                modules.insert(path, module);
                inputs.insert(data.file);
            }
            Err((place, message)) => {
                let name = layout.name(&data.file).unwrap_or(path);
                problems.insert(Problem::at(name, place, message));
            }
        }
    }
    let (true, Some(output)) = (problems.is_empty(), output) else {
        return Err(problems.into_iter().collect());
    };
    let output_of = |file: &Path| layout.output(&file.to_string_lossy());
    let entries = (found.workers.iter().map(PathBuf::as_path)).chain(files);
    let entries: BTreeSet<String> = entries.map(output_of).collect();
    modules.extend(scripts(layout, &output.assets, &entries));
    let problems = not_compiled(&modules, &found.new_syntax);
    if !problems.is_empty() {
        return Err(problems);
    }
    if workers.is_empty() && included.scripts.is_empty() {
        // Where some are listed, it is known that the code does not tell them all.
        warnings.extend(found.warnings);
    }
    let workers: BTreeSet<String> = (found.workers.iter().chain(workers))
        .map(|file| output_of(file))
        .collect();
    Ok(Built {
        bundle: Bundle {
            main: output_of(main),
            modules,
        },
        inputs,
        workers: workers.into_iter().collect(),
        without_fetch: found.without_fetch,
        warnings,
    })
}

/// What globs have brought in that is no code, by its path in the bundle.
fn included_data(layout: &Layout, included: &Included) -> impl Iterator<Item = (String, Data)> {
    included.data.iter().filter_map(|(file, kind)| {
        let path = kinds::path(&layout.name(file)?, *kind);
        let (file, kind) = (file.clone(), *kind);
        Some((path, Data { file, kind }))
    })
}

/// Runs the bundler, with or without what is set in files named tsconfig.json.
async fn attempt(
    entry: &Entry,
    main: &Path,
    files: &BTreeSet<&Path>,
    uses_tsconfigs: bool,
) -> Result<Attempt, Vec<Problem>> {
    let found = Arc::new(Mutex::new(Found::default()));
    let plugin = Portside {
        layout: entry.layout.clone(),
        main: main.to_owned(),
        rules: entry.rules.clone().unwrap_or_default(),
        found: Arc::clone(&found),
    };
    let mut options = options(&entry.layout, files.iter().copied());
    options.tsconfig = Some(TsConfig::Auto(uses_tsconfigs));
    let mut bundler = Bundler::with_plugins(options, vec![Arc::new(plugin)])
        .map_err(|errors| vec![Problem::of_file(".", errors.to_string())])?;
    let generated = bundler.generate().await;
    let inputs = bundler
        .watch_files()
        .iter()
        .map(|file| PathBuf::from(file.as_str()))
        .filter(|file| file.is_absolute())
        .collect();
    // Failing to run the plugins' closing hooks could lose nothing: ours has none.
    let _ = bundler.close().await;
    let found = std::mem::take(&mut *found.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(Attempt {
        generated,
        found,
        inputs,
    })
}

/// Each tsconfig.json that cannot be read, or names another that cannot. wrangler's builds go on without.
fn broken_tsconfigs(
    layout: &Layout,
    generated: &Result<BundleOutput, BatchedBuildDiagnostic>,
) -> Vec<Problem> {
    let errors = generated.as_ref().err();
    errors
        .into_iter()
        .flat_map(|errors| errors.iter())
        .filter(|error| matches!(error.kind(), EventKind::TsConfigError))
        .map(|error| {
            let help = "without it, no tsconfig.json has an effect";
            diagnosed(layout, error).help(help)
        })
        .collect()
}

/// New syntax that is still there after the build.
fn not_compiled(modules: &BTreeMap<String, Module>, new_syntax: &NewSyntax) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (path, (name, places)) in new_syntax {
        let Some(module) = modules.get(path) else {
            continue;
        };
        let left = unsupported(&String::from_utf8_lossy(&module.code));
        for (syntax, place) in places.iter().filter(|(syntax, _)| left.contains(syntax)) {
            let (message, help) = syntax.refusal();
            problems.push(Problem::at(&**name, *place, message).help(help));
        }
    }
    problems.sort();
    problems
}

/// What the bundler says is wrong, without what follows from the problems known already.
fn news(
    layout: &Layout,
    known: &BTreeSet<Problem>,
    errors: &[rolldown_error::BuildDiagnostic],
) -> Vec<Problem> {
    let broken: BTreeSet<&str> = known.iter().map(|one| one.path.as_str()).collect();
    errors
        .iter()
        .filter(|error| {
            // A module with problems was cut down to its imports: that its exports are missing is no news.
            let exporter = error.exporter().unwrap_or_default();
            let name = layout.name(&layout.root.join(exporter));
            name.is_none_or(|name| !broken.contains(&*name))
        })
        .map(|error| diagnosed(layout, error))
        .collect()
}

/// The code modules of the bundler's output by their paths. `entries` are loaded by name.
fn scripts(
    layout: &Layout,
    outputs: &[Output],
    entries: &BTreeSet<String>,
) -> Vec<(String, Module)> {
    let chunks: Vec<&OutputChunk> = outputs
        .iter()
        .filter_map(|output| match output {
            Output::Chunk(chunk) => Some(&**chunk),
            Output::Asset(_) => None,
        })
        .collect();
    let dynamic: BTreeSet<&str> = chunks
        .iter()
        .flat_map(|chunk| chunk.dynamic_imports.iter().map(|path| &**path))
        .collect();
    chunks
        .into_iter()
        .map(|chunk| {
            let path = &*chunk.filename;
            let lazy = !entries.contains(path) && !dynamic.contains(path);
            (path.to_owned(), script(layout, chunk, lazy))
        })
        .collect()
}

/// The code without the default export that the bundler gives every CommonJS module.
///
/// That export runs the module as soon as it is loaded, whether or not it is ever required, and before what it requires
/// if they require each other. It is not needed where every importer calls the module's function, as bundled ones do.
/// The line stands after everything that the source map speaks of.
fn without_eager_export(code: &str) -> Cow<'_, str> {
    const START: &str = "\nexport default require_";
    let eager = code.rfind(START).and_then(|start| {
        let line = &code[start + 1..];
        let end = line.find('\n')?;
        let name = line[..end]
            .strip_prefix("export default ")?
            .strip_suffix("();")?;
        let wrapped = code.contains(&format!("var {name} = /* @__PURE__ */ __commonJS"));
        wrapped.then_some(start..start + 1 + end)
    });
    match eager {
        Some(line) => Cow::Owned(format!("{}{}", &code[..line.start], &code[line.end..])),
        None => Cow::Borrowed(code),
    }
}

/// A code module, its source map's sources named as in the bundle, from its root. A `lazy` one is only loaded by static imports.
fn script(layout: &Layout, chunk: &OutputChunk, lazy: bool) -> Module {
    let code = if lazy {
        without_eager_export(&chunk.code)
    } else {
        Cow::Borrowed(&*chunk.code)
    };
    let source_map = chunk.map.clone().map(|mut map| {
        let folder = layout.root.join(OUT).join(&*chunk.filename);
        let folder = folder.parent().unwrap_or(&layout.root);
        let sources: Vec<String> = map
            .get_sources()
            .map(|source| {
                let file = normalized(&folder.join(source));
                // Relative ones would be taken relative to the module.
                match layout.name(&file) {
                    Some(name) => format!("/{name}"),
                    None => source.to_owned(),
                }
            })
            .collect();
        map.set_sources(sources);
        map.set_file(&chunk.filename);
        Arc::from(map.to_json_string().into_bytes())
    });
    Module {
        kind: ModuleKind::JavaScript,
        code: Arc::from(code.as_bytes()),
        source_map,
    }
}

/// The tsconfig.json that a message is about; where it names one that is not there, the application's own, which may want it.
fn tsconfig_of(layout: &Layout, message: &str) -> String {
    let named = message.split('\'').nth(1).unwrap_or_default();
    let file = normalized(&layout.root.join(named));
    let name = layout.name(&file).filter(|_| file.is_file());
    name.unwrap_or_else(|| "tsconfig.json".to_owned())
}

fn normalized(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::CurDir => {}
            std::path::Component::ParentDir => {
                normal.pop();
            }
            part => normal.push(part),
        }
    }
    normal
}

fn read_data(file: &Path, kind: ModuleKind) -> Result<Module, (Place, String)> {
    let start = |message: String| (Place::START, message);
    let bytes = std::fs::read(file).map_err(|error| start(format!("cannot be read: {error}")))?;
    if matches!(kind, ModuleKind::Json | ModuleKind::Text) {
        std::str::from_utf8(&bytes).map_err(|_| {
            let asked = crate::kinds::name(kind);
            start(format!("imported as {asked}, but is not UTF-8"))
        })?;
    }
    match kind {
        ModuleKind::Json => {
            serde_json::from_slice::<serde::de::IgnoredAny>(&bytes).map_err(|error| {
                let at = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).max(1);
                let place = Place {
                    line: at(error.line()),
                    column: at(error.column()),
                };
                (place, format!("invalid JSON: {error}"))
            })?;
        }
        ModuleKind::Wasm if !bytes.starts_with(b"\0asm") => {
            return Err(start("is not a WebAssembly module".to_owned()));
        }
        _ => {}
    }
    Ok(Module {
        kind,
        code: bytes.into(),
        source_map: None,
    })
}

/// A problem from what the bundler says, which names files absolutely or relative to the folder.
fn diagnosed(layout: &Layout, error: &rolldown_error::BuildDiagnostic) -> Problem {
    let root = format!("{}/", layout.root.to_string_lossy());
    let options = rolldown_error::DiagnosticOptions {
        cwd: layout.root.clone(),
    };
    let message = error.to_message_with(&options).replace(&root, "");
    let Some((file, line, column, _)) = error.to_diagnostic_with(&options).get_primary_location()
    else {
        let path = match error.kind() {
            EventKind::TsConfigError => Some(tsconfig_of(layout, &message)),
            _ => error.id().and_then(|id| layout.name(Path::new(&id))),
        };
        return Problem::of_file(path.unwrap_or_else(|| ".".to_owned()), message);
    };
    let at = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let place = Place {
        line: at(line),
        column: at(column + 1),
    };
    let name = layout.name(&layout.root.join(&file)).unwrap_or(file);
    Problem::at(name, place, message)
}
