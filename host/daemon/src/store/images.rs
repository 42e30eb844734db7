// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Images in the database.

use bhojpur_provider::{ImageId, Kind};
use rusqlite::{Connection, OptionalExtension as _, Row};

use super::{Write, damaged, from_json, json, signed, unsigned};
use crate::clock::Timestamp;
use crate::model::Image;
use crate::{Error, Result};

impl Write<'_> {
    /// Adds an image, or the names and stages of one that is there already.
    pub(crate) fn add_image(&mut self, image: &Image) -> Result<()> {
        self.transaction.execute(
            "INSERT INTO images (id, about, size, created) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (id) DO NOTHING",
            (image.id.as_str(), json(&image.about)?, signed(image.size), image.created.0),
        )?;
        for (kind, locator) in &image.staged {
            self.transaction.execute(
                "INSERT INTO image_stages (image, provider, locator) VALUES (?1, ?2, ?3)
                 ON CONFLICT (image, provider) DO UPDATE SET locator = excluded.locator",
                (image.id.as_str(), kind.name(), locator),
            )?;
            self.removed_stage(&image.id, *kind)?;
        }
        Ok(())
    }

    /// The image as this transaction leaves it.
    pub(crate) fn image(&self, id: &ImageId) -> Result<Image> {
        by_id(&self.transaction, id.as_str())?.ok_or_else(|| Error::not_found("image", id.short()))
    }

    /// Gives an image a name. Only with `force` is it taken away from another one.
    pub(crate) fn name_image(&mut self, name: &str, id: &ImageId, force: bool) -> Result<()> {
        let owner = owner(&self.transaction, name)?;
        match owner {
            Some(owner) if owner == id.as_str() => return Ok(()),
            Some(owner) if !force => {
                let short = owner.get(..12).unwrap_or(&owner);
                let message = format!("the name {name:?} belongs to the image {short}");
                return Err(Error::conflict(message)
                    .advise("choose another name or tag, or take it away with --force"));
            }
            _ => {}
        }
        self.transaction.execute(
            "INSERT INTO image_names (name, image) VALUES (?1, ?2)
             ON CONFLICT (name) DO UPDATE SET image = excluded.image",
            (name, id.as_str()),
        )?;
        Ok(())
    }

    pub(crate) fn unname_image(&mut self, name: &str) -> Result<()> {
        self.transaction.execute("DELETE FROM image_names WHERE name = ?1", [name])?;
        Ok(())
    }

    /// Forgets an image. One that instances use stays, and they are named.
    pub(crate) fn remove_image(&mut self, id: &ImageId) -> Result<()> {
        let users = users(&self.transaction, id)?;
        if !users.is_empty() {
            let message = format!("the image {} is used by {}", id.short(), users.join(", "));
            return Err(Error::conflict(message)
                .advise("remove these instances first, or add --force to remove them as well"));
        }
        // What the providers have is still to be removed: by us, or after a crash.
        self.transaction.execute(
            "INSERT OR REPLACE INTO removals (image, provider, locator)
             SELECT image, provider, locator FROM image_stages WHERE image = ?1",
            [id.as_str()],
        )?;
        self.transaction.execute("DELETE FROM images WHERE id = ?1", [id.as_str()])?;
        Ok(())
    }

    /// An image is about to be staged: whatever becomes of it has an entry.
    pub(crate) fn about_to_stage(&mut self, id: &ImageId, kind: Kind) -> Result<()> {
        self.transaction.execute(
            "INSERT OR REPLACE INTO removals (image, provider, locator) VALUES (?1, ?2, '')",
            (id.as_str(), kind.name()),
        )?;
        Ok(())
    }

    /// There is nothing left to remove of an image at a provider.
    pub(crate) fn removed_stage(&mut self, id: &ImageId, kind: Kind) -> Result<()> {
        self.transaction.execute(
            "DELETE FROM removals WHERE image = ?1 AND provider = ?2",
            (id.as_str(), kind.name()),
        )?;
        Ok(())
    }
}

/// What is still to be removed at providers: image, provider, locator.
pub(crate) fn removals(connection: &Connection) -> Result<Vec<(ImageId, Kind, String)>> {
    let mut statement =
        connection.prepare_cached("SELECT image, provider, locator FROM removals")?;
    let mut rows = statement.query([])?;
    let mut removals = Vec::new();
    while let Some(row) = rows.next()? {
        let (id, kind): (String, String) = (row.get(0)?, row.get(1)?);
        removals.push((
            id.parse().map_err(|_| damaged("an image"))?,
            kind.parse::<Kind>().map_err(|_| damaged("a provider"))?,
            row.get(2)?,
        ));
    }
    Ok(removals)
}

/// Names of the instances that are made from an image.
fn users(connection: &Connection, id: &ImageId) -> Result<Vec<String>> {
    let mut statement =
        connection.prepare_cached("SELECT name FROM instances WHERE image = ?1 ORDER BY name")?;
    let names = statement.query_map([id.as_str()], |row| row.get(0))?;
    Ok(names.collect::<rusqlite::Result<_>>()?)
}

fn owner(connection: &Connection, name: &str) -> Result<Option<String>> {
    let mut statement =
        connection.prepare_cached("SELECT image FROM image_names WHERE name = ?1")?;
    Ok(statement.query_row([name], |row| row.get(0)).optional()?)
}

/// All images, the newest first.
pub(crate) fn all(connection: &Connection) -> Result<Vec<Image>> {
    let mut statement = connection
        .prepare_cached("SELECT id, about, size, created FROM images ORDER BY created DESC, id")?;
    let mut rows = statement.query([])?;
    let mut images = Vec::new();
    while let Some(row) = rows.next()? {
        images.push(image(connection, row)?);
    }
    Ok(images)
}

/// The image with this id.
pub(crate) fn by_id(connection: &Connection, id: &str) -> Result<Option<Image>> {
    let mut statement =
        connection.prepare_cached("SELECT id, about, size, created FROM images WHERE id = ?1")?;
    let mut rows = statement.query([id])?;
    rows.next()?.map(|row| image(connection, row)).transpose()
}

/// The image that a person means: by name (with `:latest` when there is no tag), by id, or by a
/// prefix of an id that only one image has.
pub(crate) fn find(connection: &Connection, reference: &str) -> Result<Image> {
    let tagged = match reference.rsplit_once('/').map_or(reference, |(_, name)| name).contains(':')
    {
        true => reference.to_owned(),
        false => format!("{reference}:latest"),
    };
    if let Some(id) = owner(connection, &tagged)?
        && let Some(image) = by_id(connection, &id)?
    {
        return Ok(image);
    }
    let id = super::by_prefix(connection, "images", "image", reference)?;
    by_id(connection, &id)?.ok_or_else(|| Error::not_found("image", reference))
}

fn image(connection: &Connection, row: &Row<'_>) -> Result<Image> {
    let id: String = row.get(0)?;
    let about: String = row.get(1)?;
    let mut names =
        connection.prepare_cached("SELECT name FROM image_names WHERE image = ?1 ORDER BY name")?;
    let names =
        names.query_map([&id], |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()?;
    let mut stages = connection.prepare_cached(
        "SELECT provider, locator FROM image_stages WHERE image = ?1 ORDER BY provider",
    )?;
    let stages = stages
        .query_map([&id], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<Vec<(String, String)>>>()?;
    let staged = stages
        .into_iter()
        .filter_map(|(kind, locator)| kind.parse::<Kind>().ok().map(|kind| (kind, locator)));
    Ok(Image {
        id: id.parse().map_err(|_| damaged("an image"))?,
        names,
        about: from_json(&about)?,
        size: unsigned(row.get(2)?),
        created: Timestamp(row.get(3)?),
        staged: staged.collect(),
    })
}
