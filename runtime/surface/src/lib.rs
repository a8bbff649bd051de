//! What JavaScript sees: the web platform from the `deno_*` crates, and Portside's own surface beside it.
//!
//! `js/` has the JavaScript, baked into one startup snapshot; the modules here are its host side, one per concept. The
//! [`Shared`](portside_worker::engine::Shared) instance in the isolate's `OpState` holds what one loaded copy of a module
//! can reach; the functions here are ways for JavaScript to call it.

mod actors;
mod caches;
mod calls;
mod compression;
mod hibernation;
pub mod http;
pub mod lifecycle;
pub mod memory;
pub mod network;
pub mod objects;
mod outgoing;
pub mod parts;
pub mod ports;
pub mod resolve;
mod scheduled;
pub mod sockets;
pub mod stack;
pub mod storage;
mod wasm;

use std::sync::LazyLock;

use deno_core::Extension;

deno_core::extension!(
    portside,
    deps = [deno_webidl, deno_web, deno_fetch, deno_crypto],
    ops = [
        ports::op_port_open,
        ports::op_worker_script,
        ports::op_port_post,
        ports::op_port_close,
        ports::op_port_start,
        ports::op_port_settled,
        ports::op_port_let_go,
        storage::op_storage_check,
        storage::op_storage_check_room,
        storage::op_storage_peek,
        storage::op_storage_value,
        storage::op_storage_load,
        storage::op_storage_exist,
        storage::op_storage_list,
        storage::op_storage_put,
        storage::op_storage_delete,
        storage::op_storage_clear,
        storage::op_storage_undurable,
        storage::op_storage_durable,
        storage::op_alarm_set,
        storage::op_alarm_delete,
        storage::op_alarm_get,
        storage::op_alarm_ended,
        http::op_body_read,
        http::op_respond_text,
        http::op_respond_bytes,
        http::op_respond_stream,
        http::op_response_write,
        http::op_response_end,
        http::op_response_abort,
        http::op_respond_socket,
        http::op_respond_error,
        http::op_respond_overloaded,
        http::op_exchange_end,
        http::op_env,
        objects::op_object_classes,
        objects::op_object_id,
        objects::op_object_id_check,
        objects::op_object_section,
        objects::op_object_reset,
        objects::op_object_resolve,
        objects::op_respond_thrown,
        objects::op_object_get,
        objects::op_object_put,
        objects::op_object_delete,
        objects::op_object_clear,
        objects::op_object_list,
        objects::op_object_savepoint,
        objects::op_object_end_transaction,
        objects::op_object_bookmark,
        objects::op_object_durable,
        objects::op_sql_exec,
        objects::op_sql_columns,
        objects::op_sql_counts,
        objects::op_sql_next,
        objects::op_sql_close,
        objects::op_sql_size,
        caches::op_cache_delete,
        caches::op_cache_match,
        caches::op_cache_most,
        caches::op_cache_put,
        calls::op_stub_bond,
        calls::op_stub_fetch,
        calls::op_stub_call,
        calls::op_assets_fetch,
        calls::op_call_answer,
        calls::op_call_upload,
        calls::op_call_upload_end,
        calls::op_call_read,
        calls::op_call_thrown,
        calls::op_call_cancel,
        calls::op_call_hear,
        calls::op_call_say,
        calls::op_call_say_close,
        calls::op_respond_spliced,
        hibernation::op_compatibility,
        hibernation::op_respond_hibernatable,
        hibernation::op_hibernatable_accept,
        hibernation::op_hibernatable_attach,
        hibernation::op_hibernatable_attachment,
        hibernation::op_hibernatable_answered_at,
        hibernation::op_hibernatable_auto_response,
        hibernation::op_hibernatable_binary,
        hibernation::op_hibernatable_close,
        hibernation::op_hibernatable_closes,
        hibernation::op_hibernatable_closing,
        hibernation::op_hibernatable_ended,
        hibernation::op_hibernatable_hear,
        hibernation::op_hibernatable_hear_close,
        hibernation::op_hibernatable_list,
        hibernation::op_hibernatable_set_auto_response,
        hibernation::op_hibernatable_set_timeout,
        hibernation::op_hibernatable_tags,
        hibernation::op_hibernatable_text,
        hibernation::op_hibernatable_timeout,
        hibernation::op_hibernatable_waiting,
        calls::op_call_accept,
        sockets::op_socket_check,
        sockets::op_socket_text,
        sockets::op_socket_binary,
        sockets::op_socket_close,
        sockets::op_socket_end,
        sockets::op_socket_waiting,
        compression::op_inflate_new,
        compression::op_inflate_next,
        compression::op_inflate_read,
        compression::op_inflate_end,
        parts::op_part,
        parts::op_define_lazily,
        parts::op_when_looked_at,
        memory::op_memory_account,
        memory::op_memory_close,
        memory::op_memory_check,
        wasm::op_wasm_memories,
        outgoing::op_websocket_open,
        outgoing::op_websocket_text,
        outgoing::op_websocket_binary,
        outgoing::op_websocket_close,
        outgoing::op_websocket_buffered,
        outgoing::op_websocket_end,
        outgoing::op_websocket_next,
        scheduled::op_ran,
        lifecycle::op_hold,
        lifecycle::op_inspected,
        lifecycle::op_timer,
        lifecycle::op_terminate,
        lifecycle::op_log,
        lifecycle::op_log_rejection,
        lifecycle::op_uncaught,
        lifecycle::op_output_is_open,
        lifecycle::op_output_permit,
    ],
    esm_entry_point = "ext:portside/main.js",
    esm = [
        dir "js",
        "buffers.js",
        "clones.js",
        "context.js",
        "env.js",
        "errors.js",
        "events.js",
        "globals.js",
        "handlers.js",
        "lifecycle.js",
        "main.js",
        "outputs.js",
        "parts.js",
        "ports.js",
        "properties.js",
        "sections.js",
        "storage.js",
        "telemetry_stub.js",
    ],
    lazy_loaded_js = [
        dir "js",
        "bootstrap.js",
        "parts/assets.js",
        "parts/blob_parts.js",
        "parts/blobs.js",
        "parts/bodies.js",
        "parts/byte_streams.js",
        "parts/caches.js",
        "parts/calls.js",
        "parts/cloudflare.js",
        "parts/compression.js",
        "parts/console.js",
        "parts/crypto.js",
        "parts/entrypoints.js",
        "parts/eventsource.js",
        "parts/execution.js",
        "parts/expressions.js",
        "parts/fetch.js",
        "parts/fetcher.js",
        "parts/formdata.js",
        "parts/hibernation.js",
        "parts/http.js",
        "parts/keys.js",
        "parts/living.js",
        "parts/loopback.js",
        "parts/messages.js",
        "parts/methods.js",
        "parts/network.js",
        "parts/object_arguments.js",
        "parts/object_kv.js",
        "parts/object_sql.js",
        "parts/object_storage.js",
        "parts/object_surface.js",
        "parts/objects.js",
        "parts/performance.js",
        "parts/remote.js",
        "parts/request.js",
        "parts/response.js",
        "parts/scheduled.js",
        "parts/sockets.js",
        "ext:deno_net/02_tls.js" = "parts/tls.js",
        "parts/thrown.js",
        "parts/url.js",
        "parts/urlpattern.js",
        "parts/values.js",
        "parts/wasm.js",
        "parts/websocket.js",
    ],
    synthetic_esm = ["cloudflare:workers" = "ext:portside/parts/cloudflare.js"],
    state = |state| {
        state.put(network::permissions());
        state.put(outgoing::Connections::default());
    },
);

/// The scripts of modules that are in no bundle: an application imports them by names of their own, and deno_core loads them
/// itself.
pub const MODULES: &[(&str, &str)] = &[(
    "ext:portside/parts/cloudflare.js",
    include_str!("../js/parts/cloudflare.js"),
)];

/// The extensions of every isolate. Their order is part of the snapshot: the one that makes it and the ones that load it
/// must use this same list.
#[must_use]
pub fn extensions() -> Vec<Extension> {
    let fetch = deno_fetch::Options {
        user_agent: "Portside".into(),
        ..Default::default()
    };
    let mut web = deno_web::deno_web::init(
        deno_web::BlobStore::default_arc(),
        None,
        false,
        unused_channel(),
    );
    // Each would cost about a kilobyte of every isolate.
    web.ops.to_mut().retain(|op| !is_unused(op.name));
    web.objects
        .to_mut()
        .retain(|object| !is_unused(object.name.0));
    let mut portside = portside::init();
    portside.external_references = parts::external_references().into();
    vec![
        deno_webidl::deno_webidl::init(),
        web,
        deno_fetch::deno_fetch::init(fetch),
        deno_crypto::deno_crypto::init(None),
        portside,
    ]
}

/// What `deno_web` would have broadcasts of one isolate reach others by, if its operations for them were there. It takes 16 kB,
/// so there is one.
fn unused_channel() -> deno_web::InMemoryBroadcastChannel {
    static CHANNEL: LazyLock<deno_web::InMemoryBroadcastChannel> = LazyLock::new(Default::default);
    CHANNEL.clone()
}

/// Whether an operation or a class of `deno_web`'s is one that only scripts need which are never loaded.
fn is_unused(name: &str) -> bool {
    ["op_broadcast_", "op_geometry_", "op_lock_manager_"]
        .iter()
        .any(|group| name.starts_with(group))
        || ["CSS", "DOM", "ImageData"]
            .iter()
            .any(|group| name.starts_with(group))
}

/// Chooses the cryptography of `fetch` and `WebSocket` for this process; their first use would abort it otherwise. A choice
/// made before stays.
pub fn choose_cryptography() {
    let _ = deno_tls::rustls::crypto::aws_lc_rs::default_provider().install_default();
}
