// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Images.

use bhojpur_api::{BuildEvent, BuildQuery, Image, ImageRemoval, ImportQuery, TagRequest};

use crate::transport::{Call, Client, SLOW};
use crate::{ByteStream, EventStream, Result, Upload};

impl Client {
    /// `GET /images`.
    pub async fn images(&self) -> Result<Vec<Image>> {
        self.json(Call::get(&["images"])).await
    }

    /// `GET /images/{ref}`.
    pub async fn image(&self, image: &str) -> Result<Image> {
        self.json(Call::get(&["images", image])).await
    }

    /// `GET /images/{ref}/elf`.
    pub async fn image_elf(&self, image: &str) -> Result<ByteStream> {
        self.bytes(Call::get(&["images", image, "elf"])).await
    }

    /// `POST /images/build`, with a tar of the context.
    pub async fn build(
        &self,
        query: &BuildQuery,
        context: Upload,
    ) -> Result<EventStream<BuildEvent>> {
        let call = Call::post(&["images", "build"]).with_all(query);
        self.events_of(call.upload("application/x-tar", context)).await
    }

    /// `POST /images/import`, with a bootable ELF.
    pub async fn import(&self, query: &ImportQuery, elf: Upload) -> Result<Image> {
        let call = Call::post(&["images", "import"]).with_all(query);
        self.json(call.upload("application/octet-stream", elf)).await
    }

    /// `POST /images/{ref}/tag`.
    pub async fn tag(&self, image: &str, request: &TagRequest) -> Result<Image> {
        self.json(Call::post(&["images", image, "tag"]).json(request)?).await
    }

    /// `DELETE /images/{ref}`; with `force` its instances go too, when the image itself does.
    pub async fn delete_image(&self, image: &str, force: bool) -> Result<ImageRemoval> {
        self.json(Call::delete(&["images", image]).flag("force", force).within(SLOW)).await
    }
}
