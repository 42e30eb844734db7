// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The daemon itself: what it is, its providers, its tokens, what happens in it.

use bhojpur_api::{Compiler, Event, Info, NewToken, Pong, Provider, Token, TokenRequest};

use crate::transport::{Call, Client};
use crate::{EventStream, Result};

impl Client {
    /// `GET /ping`.
    pub async fn ping(&self) -> Result<Pong> {
        self.json(Call::get(&["ping"])).await
    }

    /// `GET /info`.
    pub async fn info(&self) -> Result<Info> {
        self.json(Call::get(&["info"])).await
    }

    /// `GET /providers`.
    pub async fn providers(&self) -> Result<Vec<Provider>> {
        self.json(Call::get(&["providers"])).await
    }

    /// `GET /compilers`.
    pub async fn compilers(&self) -> Result<Vec<Compiler>> {
        self.json(Call::get(&["compilers"])).await
    }

    /// `GET /events`: those after number `since`, or those to come.
    pub async fn events(&self, since: Option<u64>) -> Result<EventStream<Event>> {
        let call = Call::get(&["events"]);
        let call = match since {
            Some(since) => call.with("since", since),
            None => call,
        };
        self.events_of(call).await
    }

    /// `GET /tokens`.
    pub async fn tokens(&self) -> Result<Vec<Token>> {
        self.json(Call::get(&["tokens"])).await
    }

    /// `POST /tokens`.
    pub async fn create_token(&self, request: &TokenRequest) -> Result<NewToken> {
        self.json(Call::post(&["tokens"]).json(request)?).await
    }

    /// `DELETE /tokens/{name}`.
    pub async fn delete_token(&self, name: &str) -> Result<()> {
        self.done(Call::delete(&["tokens", name])).await
    }
}
