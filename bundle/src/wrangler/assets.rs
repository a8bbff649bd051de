//! Static assets in a configuration.

use portside_assets::ServerFirst;
use portside_crds::class::{Assets, HtmlHandling, NotFoundHandling};
use portside_crds::validate::Step;
use serde::Deserialize;
use serde_json::Value as Json;

/// `assets`, as it is written.
#[derive(Debug, Deserialize)]
pub(super) struct AssetsSetting {
    pub directory: String,
    pub binding: Option<String>,
    #[serde(default)]
    html_handling: Html,
    #[serde(default)]
    not_found_handling: NotFound,
    #[serde(default)]
    run_worker_first: Json,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Html {
    #[default]
    AutoTrailingSlash,
    ForceTrailingSlash,
    DropTrailingSlash,
    None,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum NotFound {
    #[default]
    None,
    #[serde(rename = "404-page")]
    Page,
    SinglePageApplication,
}

/// Something to say about a part of the setting, after the way to it.
pub(super) type Said = (Vec<Step>, String);

/// What a setting makes, what is wrong with it, and what has no effect. `has_main` says whether there is a server.
pub(super) fn made(setting: AssetsSetting, has_main: bool) -> (Assets, Vec<Said>, Vec<Said>) {
    let (mut wrong, mut warnings) = (vec![], vec![]);
    let at = |name: &str| vec![Step::Field(name.to_owned())];
    if setting.directory.is_empty() {
        let message = "is empty: name the folder with the files, such as ./public";
        wrong.push((at("directory"), message.to_owned()));
    }
    let first = "run_worker_first";
    let server_first = match setting.run_worker_first {
        Json::Null | Json::Bool(false) => vec![],
        Json::Bool(true) => {
            if setting.binding.is_none() {
                let message = "has the server answer everything, and it cannot reach the assets: add a binding";
                warnings.push((at(first), message.to_owned()));
            }
            vec!["/*".to_owned()]
        }
        given => rules(given, &mut wrong),
    };
    if !has_main {
        let alone = [
            (first, !server_first.is_empty()),
            ("binding", setting.binding.is_some()),
        ];
        for (name, _) in alone.iter().filter(|(_, is_there)| *is_there) {
            let message = "is for a server, and there is none: leave it out, or name the module with the fetch handler in main";
            wrong.push((at(name), message.to_owned()));
        }
    }
    let assets = Assets {
        directory: None, // of clusters, which have them in an archive
        binding: setting.binding,
        html_handling: match setting.html_handling {
            Html::AutoTrailingSlash => HtmlHandling::AutoTrailingSlash,
            Html::ForceTrailingSlash => HtmlHandling::ForceTrailingSlash,
            Html::DropTrailingSlash => HtmlHandling::DropTrailingSlash,
            Html::None => HtmlHandling::None,
        },
        not_found_handling: match setting.not_found_handling {
            NotFound::None => NotFoundHandling::None,
            NotFound::Page => NotFoundHandling::NotFoundPage,
            NotFound::SinglePageApplication => NotFoundHandling::SinglePageApplication,
        },
        server_first,
    };
    (assets, wrong, warnings)
}

/// The rules of a list that says when the server comes first.
fn rules(given: Json, wrong: &mut Vec<Said>) -> Vec<String> {
    let at = |n: Option<usize>| {
        let name = Step::Field("run_worker_first".to_owned());
        [name].into_iter().chain(n.map(Step::Item)).collect()
    };
    let rules = match serde_json::from_value::<Vec<String>>(given) {
        Ok(rules) if !rules.is_empty() => rules,
        _ => {
            let message = "must be true, false, or a list of paths, such as [\"/api/*\"]";
            wrong.push((at(None), message.to_owned()));
            return vec![];
        }
    };
    let found = ServerFirst::check(&rules).into_iter();
    wrong.extend(found.map(|(n, message)| (at(n), message)));
    rules
}
