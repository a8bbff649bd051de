//! Pulling from a registry.

use super::testkit::{Fault, Registry, basic};
use super::*;

const BUNDLE: &[u8] = b"{\"format\":\"portside-bundle/v1\"}";

fn artifact(registry: &Registry, rest: &str, login: Login) -> Artifact {
    Artifact::new(registry.reference(rest).parse().unwrap(), login)
}

async fn pull(registry: &Registry, rest: &str) -> Result<Pulled, Error> {
    artifact(registry, rest, Login::Anonymous).pull().await
}

/// Pulls in vain.
async fn fails(registry: &Registry, rest: &str) -> (Kind, String) {
    let error = pull(registry, rest).await.unwrap_err();
    (error.kind, error.to_string())
}

#[tokio::test]
async fn artifacts_are_pulled_by_tag_and_by_digest() {
    let registry = Registry::start(None).await;
    let digest = registry.put("acme/chat:1.4", BUNDLE);
    let pulled = pull(&registry, "acme/chat:1.4").await.unwrap();
    assert_eq!((&*pulled.bytes, &*pulled.digest), (BUNDLE, &*digest));

    let moved = registry.put("acme/chat:1.4", b"other");
    assert_ne!(moved, digest);
    let pulled = pull(&registry, "acme/chat:1.4").await.unwrap();
    assert_eq!((&*pulled.bytes, &*pulled.digest), (&b"other"[..], &*moved));
    let tag = registry.reference("acme/chat:1.4").parse().unwrap();
    let pinned = Artifact::new(pinned(&tag, &digest).unwrap(), Login::Anonymous);
    let pulled = pinned.pull().await.unwrap();
    assert_eq!((&*pulled.bytes, &*pulled.digest), (BUNDLE, &*digest));
}

#[tokio::test]
async fn what_is_not_there_is_absent() {
    let registry = Registry::start(None).await;
    registry.put("acme/chat:1.4", BUNDLE);
    let (kind, message) = fails(&registry, "acme/chat:1.5").await;
    assert_eq!(kind, Kind::Absent);
    let place = registry.reference("acme/chat:1.5: 127.0.0.1:");
    assert!(message.starts_with(&place), "{message}");
    let digest = format!("acme/chat@sha256:{}", "0".repeat(64));
    assert_eq!(fails(&registry, &digest).await.0, Kind::Absent);
    registry.put_as("acme/chat:2", BUNDLE, |manifest| {
        manifest["layers"][0]["digest"] = sha256(b"lost").into();
    });
    assert_eq!(fails(&registry, "acme/chat:2").await.0, Kind::Absent);
}

#[tokio::test]
async fn private_artifacts_want_credentials() {
    let registry = Registry::start(Some(("puller", "s3cret"))).await;
    registry.put("acme/chat:1.4", BUNDLE);
    for login in [
        Login::Anonymous,
        Login::Unusable(String::new()),
        basic("puller", "wr0ng"),
    ] {
        let refused = artifact(&registry, "acme/chat:1.4", login).pull().await;
        let error = refused.unwrap_err();
        assert_eq!(error.kind, Kind::Denied, "{error}");
        assert!(!error.to_string().contains("wr0ng"), "{error}");
    }
    let login = basic("puller", "s3cret");
    let pulled = artifact(&registry, "acme/chat:1.4", login).pull().await;
    assert_eq!(pulled.unwrap().bytes, BUNDLE);
}

#[tokio::test]
async fn a_token_is_not_waited_for_without_end() {
    let registry = Registry::start(None).await;
    registry.put("acme/chat:1.4", BUNDLE);
    registry.fail(Fault::LongToken, 1);
    let (kind, message) = fails(&registry, "acme/chat:1.4").await;
    assert_eq!(kind, Kind::Denied);
    assert!(message.contains("too long"), "{message}");
}

#[tokio::test]
async fn what_passes_is_tried_again() {
    let registry = Registry::start(None).await;
    registry.put("acme/chat:1.4", BUNDLE);
    for fault in [Fault::Truncated, Fault::Unavailable] {
        registry.fail(fault, 1);
        assert_eq!(
            pull(&registry, "acme/chat:1.4").await.unwrap().bytes,
            BUNDLE
        );
        registry.fail(fault, TRIES);
        let (kind, message) = fails(&registry, "acme/chat:1.4").await;
        assert_eq!(kind, Kind::Unavailable, "{message}");
    }
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let reference = format!("{address}/a").parse().unwrap();
    let nobody = Artifact::new(reference, Login::Anonymous).pull().await;
    let error = nobody.unwrap_err();
    assert_eq!(error.kind, Kind::Unavailable);
    assert!(error.to_string().contains("refused"), "{error}");
}

#[tokio::test]
async fn what_was_changed_is_refused() {
    let registry = Registry::start(None).await;
    let digest = registry.put("acme/chat:1.4", BUNDLE);
    registry.fail(Fault::Damaged, 1);
    let (kind, message) = fails(&registry, "acme/chat:1.4").await;
    assert_eq!(kind, Kind::Damaged, "{message}");
    registry.fail(Fault::OtherManifest, 1);
    let (kind, message) = fails(&registry, &format!("acme/chat@{digest}")).await;
    assert_eq!(kind, Kind::Damaged);
    assert!(message.contains(&digest), "{message}");
    registry.put_as("acme/chat:2", BUNDLE, |manifest| {
        manifest["layers"][0]["size"] = (BUNDLE.len() - 1).into();
    });
    let (kind, message) = fails(&registry, "acme/chat:2").await;
    assert_eq!(kind, Kind::Damaged);
    assert!(message.contains("longer"), "{message}");
}

#[tokio::test]
async fn only_one_bundle_of_some_size_is_taken() {
    let registry = Registry::start(None).await;
    let refused = async |change: fn(&mut serde_json::Value)| {
        registry.put_as("acme/chat:1.4", BUNDLE, change);
        let (kind, message) = fails(&registry, "acme/chat:1.4").await;
        assert_eq!(kind, Kind::NotABundle, "{message}");
        message
    };
    let large = refused(|manifest| manifest["layers"][0]["size"] = (MAX_BYTES + 1).into()).await;
    assert!(large.contains("65 MiB, and 64 MiB are allowed"), "{large}");
    let two = refused(|manifest| {
        let layer = manifest["layers"][0].clone();
        manifest["layers"].as_array_mut().unwrap().push(layer);
    });
    assert!(
        two.await
            .contains("a layer of type \"application/vnd.portside.bundle")
    );
    let three = refused(|manifest| {
        let layer = manifest["layers"][0].clone();
        *manifest["layers"].as_array_mut().unwrap() = vec![layer; 3];
    });
    assert!(three.await.contains("3 layers"));
    let assets = refused(|manifest| {
        let mut layer = manifest["layers"][0].clone();
        layer["mediaType"] = ASSETS_TYPE.into();
        layer["size"] = (MAX_ASSETS_BYTES + 1).into();
        manifest["layers"].as_array_mut().unwrap().push(layer);
    });
    assert!(assets.await.contains("an archive of assets of 1025 MiB"));
    let image = refused(|manifest| {
        manifest["layers"][0]["mediaType"] = "application/vnd.oci.image.layer.v1.tar".into();
    });
    assert!(image.await.contains("image.layer.v1.tar"));
    let index = refused(|manifest| {
        *manifest = serde_json::json!({"schemaVersion": 2, "manifests": []});
    });
    assert!(index.await.contains("index"));
    refused(|manifest| manifest["layers"][0]["digest"] = "sha256:../../x".into()).await;
    let padded = refused(|manifest| manifest["padding"] = " ".repeat(5 << 20).into());
    assert!(padded.await.contains("over 4 MiB"));
    let pushed = artifact(&registry, "acme/chat:2", Login::Anonymous);
    let pushed = pushed
        .push(vec![0; usize::try_from(MAX_BYTES).unwrap() + 1], None)
        .await;
    assert_eq!(pushed.unwrap_err().kind, Kind::NotABundle);
}

#[test]
fn only_registries_of_this_machine_are_spoken_to_without_tls() {
    for here in ["localhost", "localhost:5000", "127.0.0.1", "127.1.2.3:80"] {
        assert!(is_loopback(here), "{here}");
    }
    for elsewhere in ["localhost.example", "10.0.0.1:5000", "registry.example"] {
        assert!(!is_loopback(elsewhere), "{elsewhere}");
    }
}
