// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The wire types of the daemon's REST interface, version 1.
//!
//! These are what goes over the wire and nothing more: the daemon has types of its own inside
//! and converts at its edge, so that this crate changes only when the interface does. Fields
//! are added, never renamed; a field that is unknown is refused in requests (a typo is an
//! error) and ignored in answers (an older client lives on).
//!
//! All times are RFC 3339 in UTC, sizes and memory are whole numbers with the unit in the name,
//! absent values are left out.
//!
//! | method and path below `/v1` | takes | answers |
//! |---|---|---|
//! | `GET /ping` | | [`Pong`] |
//! | `GET /info` | | [`Info`] |
//! | `GET /providers` | | `[`[`Provider`]`]` |
//! | `GET /compilers` | | `[`[`Compiler`]`]` |
//! | `GET /images` | | `[`[`Image`]`]` |
//! | `POST /images/build` | [`BuildQuery`] in the query, a tar (plain or gzip) of the context | server-sent [`BuildEvent`]s |
//! | `POST /images/import` | [`ImportQuery`] in the query, a bootable ELF | [`Image`] |
//! | `GET /images/{ref}` | | [`Image`] |
//! | `GET /images/{ref}/elf` | | the ELF |
//! | `POST /images/{ref}/tag` | [`TagRequest`] | [`Image`] |
//! | `DELETE /images/{ref}?force` | | [`ImageRemoval`] |
//! | `GET /instances?all&label=K=V` | | `[`[`Instance`]`]` |
//! | `POST /instances` | [`RunRequest`] | 201 [`Instance`] |
//! | `GET /instances/{ref}` | | [`Instance`] |
//! | `DELETE /instances/{ref}?force&volumes` | | 204; with `volumes` its volumes are removed too, whatever is in them |
//! | `POST /instances/{ref}/start`, `/restart`, `/pause`, `/resume` | | [`Instance`] |
//! | `POST /instances/{ref}/stop?grace_s` | | [`Instance`] |
//! | `POST /instances/{ref}/kill` | | [`Instance`] |
//! | `POST /instances/{ref}/rename` | [`RenameRequest`] | [`Instance`] |
//! | `GET /instances/{ref}/wait?limit_s` | | [`Instance`], when it does not run any more or the limit is over |
//! | `GET /instances/{ref}/logs?tail&offset` | | `application/octet-stream`, all there is |
//! | `GET /instances/{ref}/logs?follow=true&tail&offset` | | server-sent [`LogChunk`]s |
//! | `POST /instances/{ref}/input` | bytes, streamed | 204: they were typed |
//! | `GET /instances/{ref}/stats` | | [`Stats`] |
//! | `GET /instances/{ref}/stats?stream=true` | | server-sent [`Stats`] |
//! | `POST /instances/{ref}/snapshots` | [`SnapshotRequest`] | 201 [`Snapshot`] |
//! | `GET /instances/{ref}/snapshots` | | `[`[`Snapshot`]`]` |
//! | `POST /instances/{ref}/snapshots/{name}/restore` | | [`Instance`] |
//! | `DELETE /instances/{ref}/snapshots/{name}` | | 204 |
//! | `GET /volumes` | | `[`[`Volume`]`]` |
//! | `POST /volumes` | [`VolumeQuery`] in the query, a tar (plain or gzip) of its content or nothing | 201 [`Volume`] |
//! | `GET /volumes/{ref}` | | [`Volume`] |
//! | `DELETE /volumes/{ref}?force` | | 204 |
//! | `POST /volumes/{ref}/attach` | [`AttachRequest`] | [`Volume`] |
//! | `POST /volumes/{ref}/detach?instance` | | [`Volume`] |
//! | `GET /volumes/{ref}/files?path` | | a tar of what is there |
//! | `GET /volumes/{ref}/files/stat?path` | | [`FileStat`] |
//! | `PUT /volumes/{ref}/files?path` | a tar (plain or gzip) | [`Written`] |
//! | `GET /events?since` | | server-sent [`Event`]s |
//! | `GET /tokens` | | `[`[`Token`]`]` |
//! | `POST /tokens` | [`TokenRequest`] | 201 [`NewToken`] |
//! | `DELETE /tokens/{name}` | | 204 |
//!
//! `{ref}` is a name, a whole id, or a prefix of an id that only one thing has. Every error is
//! [`ErrorBody`]. `GET /metrics` (Prometheus), `GET /v1/openapi.json` and `GET /` (the web page)
//! stand beside these.
#![forbid(unsafe_code)]

mod error;
mod event;
mod image;
mod instance;
mod system;
mod volume;

pub use error::{Code, ErrorBody};
pub use event::{Event, LogChunk, Subject};
pub use image::{
    BuildEvent, BuildQuery, ExposedPort, Image, ImageRemoval, ImportQuery, StagedAt, TagRequest,
};
pub use instance::{
    Health, HealthCheck, Instance, InstanceState, Mount, Network, Port, Probe, Protocol,
    RenameRequest, RestartPolicy, RunRequest, Snapshot, SnapshotRequest, Stats,
};
pub use system::{Compiler, Info, NewToken, Pong, Provider, Role, Token, TokenRequest};
pub use volume::{
    AttachRequest, FileKind, FileStat, Volume, VolumeAttachment, VolumeQuery, Written,
};

/// The version in the path of every address.
pub const VERSION: &str = "v1";
