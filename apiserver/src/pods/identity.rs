//! Whether a pod is the one that was meant, by its service account's token.

use std::time::Duration;

use k8s_openapi::api::authentication::v1::{
    TokenReview, TokenReviewSpec, TokenReviewStatus, UserInfo,
};
use kube::api::PostParams;
use kube::{Api, Client};
use portside_manage::AUDIENCE;
use tokio::time::timeout;

use crate::known::Pod;

const PATIENCE: Duration = Duration::from_secs(10);

/// That `token` is of that pod.
///
/// # Errors
///
/// It is not, or nobody says so; says what.
pub(super) async fn verify(client: &Client, pod: &Pod, token: String) -> Result<(), String> {
    let review = TokenReview {
        spec: TokenReviewSpec {
            token: Some(token),
            audiences: Some(vec![AUDIENCE.to_owned()]),
        },
        ..TokenReview::default()
    };
    let api: Api<TokenReview> = Api::all(client.clone());
    let reviewed = timeout(PATIENCE, api.create(&PostParams::default(), &review)).await;
    let reviewed = reviewed.map_err(|_| "nobody says whose token it has".to_owned())?;
    let reviewed = reviewed.map_err(|error| format!("nobody says whose token it has: {error}"))?;
    check(pod, reviewed.status.unwrap_or_default())
}

fn check(pod: &Pod, status: TokenReviewStatus) -> Result<(), String> {
    if !status.authenticated.unwrap_or_default() {
        let why = status.error.unwrap_or_default();
        return Err(format!("its token is not good: {why}"));
    }
    let audiences = status.audiences.unwrap_or_default();
    if !audiences.iter().any(|it| it == AUDIENCE) {
        return Err(format!("its token is not for {AUDIENCE}"));
    }
    let user = status.user.unwrap_or_default();
    let service_account = format!("system:serviceaccount:{}:", pod.namespace);
    let is_meant = user
        .username
        .as_ref()
        .is_some_and(|it| it.starts_with(&service_account))
        && extra(&user, "pod-name") == Some(&pod.name)
        && extra(&user, "pod-uid") == Some(&pod.uid);
    if is_meant {
        Ok(())
    } else {
        Err("its token is another's".to_owned())
    }
}

/// What is said of the pod that a token is bound to.
fn extra<'u>(user: &'u UserInfo, what: &str) -> Option<&'u String> {
    let key = format!("authentication.kubernetes.io/{what}");
    match user.extra.as_ref()?.get(&key)?.as_slice() {
        [only] => Some(only),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod() -> Pod {
        Pod {
            namespace: "ns".into(),
            name: "a".into(),
            uid: "1".into(),
            address: ([127, 0, 0, 1], 9091).into(),
            ready: true,
        }
    }

    fn status(user: &str, name: &str, uid: &str, audience: &str) -> Value {
        json!({
            "authenticated": true,
            "audiences": [audience],
            "user": { "username": user, "extra": {
                "authentication.kubernetes.io/pod-name": [name],
                "authentication.kubernetes.io/pod-uid": [uid],
            } },
        })
    }

    #[test]
    fn a_token_is_of_one_pod() {
        let good = status("system:serviceaccount:ns:x", "a", "1", AUDIENCE);
        let check = |value: Value| check(&pod(), serde_json::from_value(value).unwrap());
        assert_eq!(check(good.clone()), Ok(()));
        let mut refused = good.clone();
        refused["authenticated"] = json!(false);
        let mut two = good;
        two["user"]["extra"]["authentication.kubernetes.io/pod-uid"] = json!(["1", "2"]);
        for wrong in [
            refused,
            two,
            json!({}),
            json!({ "authenticated": true, "audiences": [AUDIENCE] }),
            status("system:serviceaccount:ns:x", "b", "1", AUDIENCE),
            status("system:serviceaccount:ns:x", "a", "2", AUDIENCE),
            status("system:serviceaccount:other:x", "a", "1", AUDIENCE),
            status("system:serviceaccount:ns2:x", "a", "1", AUDIENCE),
            status("system:serviceaccount:ns:x", "a", "1", "vault"),
        ] {
            assert!(check(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
