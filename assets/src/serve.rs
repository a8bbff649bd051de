//! Answers to requests.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_NONE_MATCH, LOCATION,
    RANGE,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use portside_exchange::{Application, Body, BodyError, FetchError, Request, Response};
use tempfile::TempDir;
use url::Url;

use crate::content::content_type;
use crate::decide::{Decision, decide, is_for_server};
use crate::folder::{Folder, Note, Opened, Scanned};
use crate::headers::Headers;
use crate::redirects::Redirects;
use crate::settings::{Rules, Settings};
use crate::{HEADERS_FILE, REDIRECTS_FILE};

/// What is read of a file at a time. What is not larger is read at once.
const PIECE: usize = 256 << 10;

/// Browsers ask each time whether theirs is still the newest.
const CACHE: HeaderValue = HeaderValue::from_static("public, max-age=0, must-revalidate");

/// A folder's assets, and how they are served. Files are read when they are asked for, and never kept.
#[derive(Debug)]
pub struct Assets {
    rules: Rules,
    /// `_headers` and `_redirects`, to tell whether they have changed.
    texts: [Option<String>; 2],
    folder: Arc<Folder>,
    /// The folder, if it goes with the assets.
    _temporary: Option<TempDir>,
}

/// What a request got.
pub struct Answer {
    /// The response.
    pub response: Response,
    /// The path of the file that is in it, or would be if its client had not had it already.
    pub file: Option<String>,
}

impl PartialEq for Assets {
    /// Whether the same is served in the same way, as far as can be told without reading files.
    fn eq(&self, other: &Self) -> bool {
        self.rules.settings == other.rules.settings
            && self.texts == other.texts
            && self.folder == other.folder
    }
}

impl Eq for Assets {}

impl Assets {
    /// Finds the assets in a folder.
    ///
    /// # Errors
    /// What keeps the folder from being served.
    pub fn scan(root: &Path, settings: Settings) -> Result<Scanned<Self>, Vec<Note>> {
        let note = |path: &str, line, message| Note {
            path: path.to_owned(),
            line,
            message,
        };
        let unreadable = |path: &str, error: io::Error| {
            vec![note(path, None, format!("cannot be read: {error}"))]
        };
        let root = root.canonicalize().map_err(|error| unreadable("", error))?;
        let Scanned {
            found: folder,
            mut warnings,
        } = Folder::scan(&root)?;
        let text = |name| folder.text(name).map_err(|error| unreadable(name, error));
        let texts = [text(HEADERS_FILE)?, text(REDIRECTS_FILE)?];
        let [headers, redirects] = texts
            .each_ref()
            .map(|text| text.as_deref().unwrap_or_default());
        let (headers, wrong_headers) = Headers::read(headers);
        let (redirects, wrong_redirects) = Redirects::read(redirects, settings.html);
        for (name, wrong) in [
            (HEADERS_FILE, wrong_headers),
            (REDIRECTS_FILE, wrong_redirects),
        ] {
            let notes = wrong
                .into_iter()
                .map(|line| note(name, Some(line.number), line.message));
            warnings.extend(notes);
        }
        let rules = Rules {
            settings,
            headers,
            redirects,
        };
        let found = Self {
            rules,
            texts,
            folder: Arc::new(folder),
            _temporary: None,
        };
        Ok(Scanned { found, warnings })
    }

    /// Has a temporary folder, in which they are, go with them.
    #[must_use]
    pub fn in_temporary(self, folder: TempDir) -> Self {
        let _temporary = Some(folder);
        Self { _temporary, ..self }
    }

    /// How many files there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.folder.len()
    }

    /// How many rules for headers there are, and how many redirects.
    #[must_use]
    pub fn rules(&self) -> (usize, usize) {
        (self.rules.headers.count(), self.rules.redirects.count())
    }

    /// What the configuration says of how they are served.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.rules.settings
    }

    /// The folder, without links.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.folder.root()
    }

    /// Each file's path, which begins with a slash, and where it is.
    pub fn files(&self) -> impl Iterator<Item = (&str, &Path)> {
        self.folder.files()
    }

    /// Whether the server answers this request, and not the assets.
    #[must_use]
    pub fn is_for_server(&self, request: &Request) -> bool {
        let Ok(url) = Url::parse(&request.url) else {
            return self.rules.settings.has_server;
        };
        is_for_server(
            &self.rules,
            &*self.folder,
            &request.method,
            &url,
            &request.headers,
        )
    }

    /// Answers a request. Its body is not read.
    ///
    /// # Errors
    /// A file that was found cannot be read.
    pub fn answer<'s>(
        &'s self,
        request: &Request,
    ) -> impl Future<Output = Result<Answer, FetchError>> + Send + use<'s> {
        let asked = Asked::of(request);
        async move {
            let asked = asked?;
            let decision = decide(&self.rules, &*self.folder, &asked.method, &asked.url);
            let mut file = None;
            let mut response = match decision {
                Decision::File(status, path) => {
                    let response = self.file(&asked, status, &path).await?;
                    file = Some(path);
                    response
                }
                Decision::Redirect(status, location) => {
                    let mut response = plain(status);
                    // It is a URL's.
                    if let Ok(location) = HeaderValue::from_str(&location) {
                        response.headers.insert(LOCATION, location);
                    }
                    response
                }
                Decision::NotAllowed => plain(StatusCode::METHOD_NOT_ALLOWED),
                Decision::NotFound | Decision::Nothing => plain(StatusCode::NOT_FOUND),
            };
            self.rules.headers.apply(&asked.url, &mut response.headers);
            Ok(Answer { response, file })
        }
    }

    async fn file(
        &self,
        asked: &Asked,
        status: StatusCode,
        path: &str,
    ) -> Result<Response, FetchError> {
        let (folder, of) = (self.folder.clone(), path.to_owned());
        let (is_head, known) = (asked.method == Method::HEAD, asked.known.clone());
        let opened = blocking(move || {
            let Opened { file, bytes, etag } = folder.open(&of)?;
            let is_known = known.is_some_and(|known| known == etag);
            let body = match is_head || is_known {
                true => Body::Empty,
                false => body(file, bytes)?,
            };
            Ok((body, bytes, etag, is_known))
        });
        let (body, bytes, etag, is_known) = opened.await.map_err(|error| {
            FetchError::Failed(format!("the asset {path} cannot be read: {error}"))
        })?;
        let mut headers = HeaderMap::new();
        let text = |text: String| HeaderValue::try_from(text).ok();
        headers.extend(text(etag).map(|etag| (ETAG, etag)));
        let kind = content_type(path).and_then(text);
        headers.extend(kind.map(|kind| (CONTENT_TYPE, kind)));
        if asked.may_be_kept {
            headers.insert(CACHE_CONTROL, CACHE);
        }
        if is_known {
            let status = StatusCode::NOT_MODIFIED;
            return Ok(Response {
                headers,
                ..plain(status)
            });
        }
        headers.insert(CONTENT_LENGTH, bytes.into());
        Ok(Response {
            headers,
            body,
            ..plain(status)
        })
    }
}

/// What of a request counts for files.
struct Asked {
    method: Method,
    url: Url,
    /// The ETag of what the client has.
    known: Option<String>,
    /// Whether caches may keep the answer.
    may_be_kept: bool,
}

impl Asked {
    fn of(request: &Request) -> Result<Self, FetchError> {
        let Request {
            method,
            url,
            headers,
            ..
        } = request;
        let parsed = Url::parse(url);
        let known = headers
            .get(IF_NONE_MATCH)
            .and_then(|known| known.to_str().ok());
        Ok(Self {
            method: method.clone(),
            url: parsed.map_err(|error| FetchError::Failed(format!("{url} is no URL: {error}")))?,
            known: known.map(|known| known.strip_prefix("W/").unwrap_or(known).to_owned()),
            may_be_kept: !headers.contains_key(AUTHORIZATION) && !headers.contains_key(RANGE),
        })
    }
}

impl Application for Assets {
    fn fetch(&self, request: Request) -> BoxFuture<'_, Result<Response, FetchError>> {
        let answer = self.answer(&request);
        async move { Ok(answer.await?.response) }.boxed()
    }
}

fn plain(status: StatusCode) -> Response {
    Response {
        status,
        reason: Bytes::new(),
        headers: HeaderMap::new(),
        body: Body::Empty,
        socket: None,
    }
}

/// The content of a file of that many bytes: at once if it is small.
fn body(mut file: std::fs::File, bytes: u64) -> io::Result<Body> {
    if bytes > PIECE as u64 {
        let pieces = futures::stream::try_unfold((file, bytes), |(file, left)| async move {
            let read = blocking(move || piece(file, left)).await;
            read.map_err(|error| BodyError::Incomplete(error.to_string()))
        });
        return Ok(Body::Stream(Box::pin(pieces)));
    }
    let mut content = Vec::with_capacity(PIECE.min(usize::try_from(bytes).unwrap_or(PIECE)));
    (&mut file).take(bytes).read_to_end(&mut content)?;
    Ok(Body::Full(content.into()))
}

type Piece = Option<(Bytes, (std::fs::File, u64))>;

/// The next of what is left of a file; nothing at its end.
fn piece(mut file: std::fs::File, left: u64) -> io::Result<Piece> {
    let mut piece = Vec::with_capacity(PIECE);
    let read = (&mut file)
        .take(left.min(PIECE as u64))
        .read_to_end(&mut piece)?;
    Ok((read > 0).then(|| (piece.into(), (file, left - read as u64))))
}

/// Runs what blocks where that is allowed.
async fn blocking<T: Send + 'static>(
    f: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(f)
        .await
        .map_err(io::Error::other)?
}
