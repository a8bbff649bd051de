//! Lists: page by page from the pods, so that a list of any length takes the memory of one page.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream;
use portside_manage::{Worker, Workers as Page};

use super::{Workers, scope};
use crate::answer::{self, Answer, BoxError};
use crate::follow::{Held, Scope};
use crate::known::Known;
use crate::object::{self, Class};
use crate::pods::workers::Wanted;
use crate::query::Query;
use crate::selector::Selector;
use crate::shape::Shape;
use crate::status::Refusal;
use crate::token::Continue;

/// How many workers pods are asked for at a time.
const PAGE: usize = 500;
/// A list with a limit looks at so many workers at most until it says where it goes on, however few are selected.
const LOOKED_AT: usize = 20_000;
/// How many warnings are told one by one.
const WARNINGS: usize = 10;

impl Workers {
    pub(super) async fn list(
        self: &Arc<Self>,
        namespace: Option<&str>,
        query: Query,
        shape: Shape,
    ) -> Result<Answer, Refusal> {
        let mut lister = self.lister(namespace, &query).await?;
        let scope = scope(namespace, &query);
        let mut warnings = if lister.begins_here {
            self.follows.silent(&scope)
        } else {
            vec![]
        };
        let begin = match query.limit {
            Some(limit) => lister.limited(limit, shape).await?,
            None => lister.text(shape.begin(), shape).await?,
        };
        warnings.append(&mut lister.warnings);
        if warnings.len() > WARNINGS {
            let more = warnings.len() - WARNINGS;
            warnings.truncate(WARNINGS);
            warnings.push(format!("and {more} more classes or pods do not answer"));
        }
        let body = match query.limit {
            Some(_) => answer::full(begin),
            None => answer::streamed(lister.stream(begin, shape)),
        };
        let mut answer = answer::with_type(answer::JSON, body);
        answer::warn(&mut answer, &warnings);
        Ok(answer)
    }

    /// What a list goes through, from its beginning or from where it goes on.
    pub(super) async fn lister(
        self: &Arc<Self>,
        namespace: Option<&str>,
        query: &Query,
    ) -> Result<Lister, Refusal> {
        let scope = scope(namespace, query);
        let proceed = query.proceed.as_deref();
        let proceed = proceed
            .map(|it| Continue::decode(it, namespace))
            .transpose()?;
        let of_before = proceed.as_ref().map(|it| it.version);
        let begins_here = of_before.is_none_or(|it| !self.follows.counts(it));
        let held = self.follows.hold(&scope);
        let begun = if begins_here {
            self.follows.begin(&scope).await
        } else {
            0
        };
        // A list that another replica has begun, which is gone, goes on here all the same, and keeps its number: whoever watches from
        // there has to list again, for what happened meanwhile is not known.
        let version = of_before.unwrap_or(begun);
        let selector = query.selector.clone();
        let known = self.known.borrow().clone();
        let of = known
            .of(namespace)
            .filter(|it| selector.may_match(&it.class));
        let from = proceed.as_ref().map(|it| (&it.namespace, &it.class));
        let of =
            of.filter(|it| from.is_none_or(|from| (&it.class.namespace, &it.class.name) >= from));
        let classes: VecDeque<Known> = of.cloned().collect();
        // Of a class that is gone meanwhile nothing goes on.
        let goes_on = classes
            .front()
            .is_some_and(|it| from == Some((&it.class.namespace, &it.class.name)));
        let after = proceed.filter(|_| goes_on).and_then(|it| it.after);
        Ok(Lister {
            workers: Arc::clone(self),
            wanted: Wanted {
                after,
                ..selector.wanted()
            },
            selector,
            classes,
            version,
            begins_here,
            items: 0,
            is_wide: namespace.is_none(),
            warnings: vec![],
            _held: held,
        })
    }
}

/// A list, and how far it is.
pub(super) struct Lister {
    workers: Arc<Workers>,
    selector: Selector,
    /// Those whose workers come yet, the first at `wanted`.
    classes: VecDeque<Known>,
    wanted: Wanted,
    /// The list's `resourceVersion`.
    version: u64,
    /// Whether this replica has not been asked for an earlier page of it.
    begins_here: bool,
    /// How many items have been written.
    items: usize,
    /// Of all namespaces.
    is_wide: bool,
    warnings: Vec<String>,
    /// What happens while it is put together is told to whoever watches from it.
    _held: Held,
}

impl Lister {
    /// The list's `resourceVersion`.
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// The next page: its class, and those of its workers that are selected. Of `most` workers at most. Nothing after the last.
    pub(super) async fn next(
        &mut self,
        most: usize,
    ) -> Result<Option<(Arc<Class>, Vec<Worker>, usize)>, Refusal> {
        let Some(known) = self.classes.front().cloned() else {
            return Ok(None);
        };
        let class = Arc::clone(&known.class);
        // One worker is asked for, and not looked for among millions.
        let id = self.selector.name().and_then(object::parse_name);
        let which = id.map(|it| it.1).or_else(|| self.selector.address());
        let (page, next) = match which.map(str::to_owned) {
            Some(which) => (self.only(&known, &which).await?, None),
            None => match self.page(&known, most).await {
                Some(page) => (page.items, page.next),
                None => {
                    let refusal = Refusal::no_pod(&class.namespace, &class.name);
                    (self.nothing(&class, refusal)?, None)
                }
            },
        };
        let looked_at = page.len();
        let selected = page
            .into_iter()
            .filter(|it| self.selector.matches(&class, it));
        let selected: Vec<Worker> = selected.collect();
        if next.is_none() {
            self.classes.pop_front();
        }
        self.wanted.after = next;
        Ok(Some((class, selected, looked_at)))
    }

    async fn page(&self, known: &Known, most: usize) -> Option<Page> {
        // It is never closed.
        let _one_of_few = self.workers.pages.acquire().await;
        self.workers.pods.page(known, &self.wanted, most).await
    }

    async fn only(&mut self, known: &Known, id: &str) -> Result<Vec<Worker>, Refusal> {
        match self.workers.pods.worker(known, id).await {
            Ok(found) => Ok(found.into_iter().collect()),
            Err(refusal) => self.nothing(&known.class, refusal),
        }
    }

    /// Nothing is heard of a class, or nothing any more.
    ///
    /// A list of its namespace fails then, unless it was told that no pod answers. One of all namespaces goes on with the next class: no
    /// pod may keep people from all the others. Whoever watches from there is told that something was missed once there is more to list.
    fn nothing(&mut self, class: &Arc<Class>, refusal: Refusal) -> Result<Vec<Worker>, Refusal> {
        let scope = Scope {
            namespace: Some(class.namespace.clone()),
            class: Some(class.name.clone()),
        };
        let follows = &self.workers.follows;
        let is_told = follows.silent(&scope).contains(&refusal.message);
        let is_warned_of = self.wanted.after.is_none() && is_told;
        if !is_warned_of && !self.is_wide {
            return Err(refusal);
        }
        follows.left_out(class);
        if !is_warned_of {
            self.warnings.push(refusal.message);
        }
        Ok(vec![])
    }

    /// A list of at most `limit` items, and where it goes on.
    async fn limited(&mut self, limit: usize, shape: Shape) -> Result<String, Refusal> {
        let mut text = shape.begin();
        let mut looked_at = 0;
        while self.items < limit && looked_at < LOOKED_AT {
            let most = PAGE.min(limit - self.items);
            let Some((class, workers, looked)) = self.next(most).await? else {
                break;
            };
            looked_at += looked;
            self.write(&mut text, shape, &class, &workers);
        }
        let proceed = self.classes.front().map(|known| Continue {
            namespace: known.class.namespace.clone(),
            class: known.class.name.clone(),
            after: self.wanted.after.clone(),
            version: self.version,
        });
        let proceed = proceed.map(|it| it.encode());
        text.push_str(&Shape::end(&self.version.to_string(), proceed.as_deref()));
        Ok(text)
    }

    /// The next page as text behind `text`; with the list's end if it is the last.
    async fn text(&mut self, mut text: String, shape: Shape) -> Result<String, Refusal> {
        if let Some((class, workers, _)) = self.next(PAGE).await? {
            self.write(&mut text, shape, &class, &workers);
        }
        if self.classes.is_empty() {
            text.push_str(&Shape::end(&self.version.to_string(), None));
        }
        Ok(text)
    }

    /// The whole list, as long as it is, behind its beginning. What goes wrong ends it without an end.
    fn stream(
        self,
        begin: String,
        shape: Shape,
    ) -> impl futures::Stream<Item = Result<Bytes, BoxError>> + Send {
        let begun = (self, Some(begin));
        stream::try_unfold(begun, move |(mut lister, begin)| async move {
            let text = match begin {
                Some(begin) => begin,
                None if lister.classes.is_empty() => return Ok(None),
                None => {
                    let text = lister.text(String::new(), shape).await;
                    text.map_err(|refusal| BoxError::from(refusal.message))?
                }
            };
            Ok(Some((Bytes::from(text), (lister, None))))
        })
    }

    fn write(&mut self, text: &mut String, shape: Shape, class: &Class, workers: &[Worker]) {
        let version = self.version.to_string();
        for worker in workers {
            if self.items > 0 {
                text.push(',');
            }
            self.items += 1;
            text.push_str(&shape.item(class, worker, &version).to_string());
        }
    }
}
