// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Volumes.

use bhojpur_api::{AttachRequest, FileStat, Volume, VolumeQuery, Written};

use crate::transport::{Call, Client, SLOW};
use crate::{ByteStream, Result, Upload};

impl Client {
    /// `GET /volumes`.
    pub async fn volumes(&self) -> Result<Vec<Volume>> {
        self.json(Call::get(&["volumes"])).await
    }

    /// `GET /volumes/{ref}`.
    pub async fn volume(&self, volume: &str) -> Result<Volume> {
        self.json(Call::get(&["volumes", volume])).await
    }

    /// `POST /volumes`, empty or with a tar of what goes into it.
    pub async fn create_volume(
        &self,
        query: &VolumeQuery,
        content: Option<Upload>,
    ) -> Result<Volume> {
        let call = Call::post(&["volumes"]).with_all(query);
        let call = match content {
            Some(content) => call.upload("application/x-tar", content),
            None => call.within(SLOW),
        };
        self.json(call).await
    }

    /// `DELETE /volumes/{ref}`.
    pub async fn delete_volume(&self, volume: &str, force: bool) -> Result<()> {
        self.done(Call::delete(&["volumes", volume]).flag("force", force).within(SLOW)).await
    }

    /// `POST /volumes/{ref}/attach`.
    pub async fn attach_volume(&self, volume: &str, request: &AttachRequest) -> Result<Volume> {
        self.json(Call::post(&["volumes", volume, "attach"]).json(request)?.within(SLOW)).await
    }

    /// `POST /volumes/{ref}/detach`, from one instance or from the only one that has it.
    pub async fn detach_volume(&self, volume: &str, instance: Option<&str>) -> Result<Volume> {
        let call = Call::post(&["volumes", volume, "detach"]).within(SLOW);
        let call = match instance {
            Some(instance) => call.with("instance", instance),
            None => call,
        };
        self.json(call).await
    }

    /// `GET /volumes/{ref}/files`: a tar of what is at the path.
    pub async fn read_files(&self, volume: &str, path: &str) -> Result<ByteStream> {
        let call = Call::get(&["volumes", volume, "files"]).with("path", path);
        self.bytes(call.within(SLOW)).await
    }

    /// `GET /volumes/{ref}/files/stat`: what is at the path.
    pub async fn stat_file(&self, volume: &str, path: &str) -> Result<FileStat> {
        let call = Call::get(&["volumes", volume, "files", "stat"]).with("path", path);
        self.json(call.within(SLOW)).await
    }

    /// `PUT /volumes/{ref}/files`: puts what is in the tar into the directory at the path.
    pub async fn write_files(&self, volume: &str, path: &str, tar: Upload) -> Result<Written> {
        let call = Call::put(&["volumes", volume, "files"]).with("path", path);
        self.json(call.upload("application/x-tar", tar)).await
    }
}
