//! Every example, run by the real `portside dev` and driven from outside.
//!
//! Each example's test lives beside it, as part of what the example shows. Those with pages need Chromium.
#![allow(
    clippy::unwrap_used,
    reason = "a test may panic, and helpers outside of #[test] are tests too"
)]

#[allow(dead_code, reason = "each test program uses its part of it")]
mod harness;

#[path = "../../examples/chat-room/test.rs"]
mod chat_room;
#[path = "../../examples/counter-ts/test.rs"]
mod counter_ts;
#[path = "../../examples/counters/test.rs"]
mod counters;
#[path = "../../examples/cursor-board/test.rs"]
mod cursor_board;
#[path = "../../examples/durable-chat/test.rs"]
mod durable_chat;
#[path = "../../examples/guest-book/test.rs"]
mod guest_book;
#[path = "../../examples/hibernation-server/test.rs"]
mod hibernation_server;
#[path = "../../examples/proposal/test.rs"]
mod proposal;
#[path = "../../examples/pub-sub/test.rs"]
mod pub_sub;
#[path = "../../examples/rate-limiter/test.rs"]
mod rate_limiter;
#[path = "../../examples/redis-like/test.rs"]
mod redis_like;
#[path = "../../examples/reminder/test.rs"]
mod reminder;
