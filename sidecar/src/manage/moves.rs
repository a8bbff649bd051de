//! Workers that people move to another pod.

use portside_core::ids::{PodId, SHARDS, WorkerKey};
use portside_core::ownership::Unmovable;
use portside_core::ownership::members::Participant;
use portside_manage::Moved;

use crate::app::App;
use crate::changes::Unchanged;
use crate::ownership::NotMoved;

impl App {
    /// Moves the worker, and all others of its shard, to the pod of this name, or to the one that has the fewest shards. What is being
    /// done there may go on for some seconds, what is sent meanwhile waits, and the next instance begins at the other pod once
    /// something comes. Nothing happens if that pod has it already. It stays there until shards move to even out what pods have.
    ///
    /// # Errors
    /// There is no such pod, or it takes none; the workers of the shard do not come to rest; or the worker is another process's.
    pub(super) async fn move_worker(
        &self,
        key: &WorkerKey,
        to: Option<&str>,
    ) -> Result<Moved, Unchanged> {
        self.must_have(key.id())?;
        let pod = |name: &str| Moved {
            pod: name.to_owned(),
        };
        if let (Some(to), Some(here)) = (to, &self.called().pod)
            && to == here
        {
            return Ok(pod(here));
        }
        let shard = key.id().shard(SHARDS);
        let others = self.other_pods();
        let is_meant = |it: &&Participant| to.is_none_or(|to| to == it.name);
        let meant: Vec<_> = others.iter().filter(is_meant).collect();
        let mut reason = None;
        // Of the same name there may be one that has died, and nobody is sure of it yet.
        for participant in &meant {
            let to = participant.member.pod;
            match self.ownership().move_shard(shard, to).await {
                Ok(()) => return Ok(pod(&participant.name)),
                Err(NotMoved::Cannot(Unmovable::NotOwned)) => return Err(Unchanged::Elsewhere),
                Err(NotMoved::Stays) => {
                    return Err(Unchanged::refused("the worker did not come to rest"));
                }
                Err(NotMoved::Cannot(why)) => reason = Some((participant, why)),
            }
        }
        Err(match reason {
            None | Some((_, Unmovable::NoSuchPod)) => no_pod(to, &others),
            Some((_, Unmovable::TooMany)) => {
                Unchanged::refused("many workers are moving already: ask again in a moment")
            }
            Some((participant, _)) => Unchanged::refused(format!(
                "pod {} takes no workers: it is about to end, has not begun, or runs older code than other pods",
                participant.name
            )),
        })
    }

    /// Who shares the application's workers with this process, as it has seen: the one with the fewest shards first.
    fn other_pods(&self) -> Vec<Participant> {
        let me: PodId = self.ownership().pod();
        let members = self.ownership().members().borrow().clone();
        let mut others = members.map_or_else(Vec::new, |it| it.participants);
        others.retain(|it| it.member.pod != me);
        // Who wants none comes last: it is named only if nobody else is there.
        others.sort_by_key(|it| (!it.member.wants, it.owns, it.member.pod));
        others
    }
}

fn no_pod(to: Option<&str>, others: &[Participant]) -> Unchanged {
    let names: Vec<_> = others.iter().map(|it| it.name.as_str()).collect();
    let others = match names[..] {
        [] => "there is no other pod".to_owned(),
        _ => format!("the others are {}", names.join(", ")),
    };
    Unchanged::refused(match to {
        Some(to) => format!("no pod {to} runs the application's workers: {others}"),
        None => others,
    })
}
