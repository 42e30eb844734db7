// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The ancestor's JSON.

use std::collections::BTreeMap;

use bhojpur_provider::Kind;
use serde::{Deserialize, Serialize};

use crate::model;

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Image {
    id: String,
    name: String,
    size_mb: u64,
    infrastructure: String,
    created: String,
    stage_spec: StageSpec,
    run_spec: RunSpec,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct StageSpec {
    image_format: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct RunSpec {
    device_mappings: Vec<String>,
    default_instance_memory: u64,
    #[serde(rename = "MinInstanceDiskMB")]
    min_instance_disk_mb: u64,
    compiler: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Instance {
    id: String,
    name: String,
    state: &'static str,
    ip_address: String,
    image_id: String,
    infrastructure: String,
    created: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Volume {
    id: String,
    name: String,
    size_mb: u64,
    attachment: String,
    infrastructure: String,
    created: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[derive(Default)]
pub(super) struct RunRequest {
    pub(super) instance_name: String,
    pub(super) image_name: String,
    /// Mount point to volume.
    pub(super) mounts: BTreeMap<String, String>,
    pub(super) env: BTreeMap<String, String>,
    pub(super) memory_mb: u64,
    pub(super) debug_mode: bool,
}

fn infrastructure(kind: Kind) -> String {
    kind.name().to_ascii_uppercase()
}

/// 1.5 MiB are 2 MB.
fn megabytes(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

impl From<model::Image> for Image {
    fn from(image: model::Image) -> Self {
        let kind = image.staged.first().map(|(kind, _)| *kind);
        let name = image.names.first().map(|name| name.trim_end_matches(":latest").to_owned());
        let provider = kind.map_or("", Kind::name);
        Self {
            name: name.unwrap_or_else(|| image.id.short().to_owned()),
            id: image.id.to_string(),
            size_mb: megabytes(image.size),
            infrastructure: kind.map(infrastructure).unwrap_or_default(),
            created: image.created.rfc3339(),
            stage_spec: StageSpec { image_format: "raw" },
            run_spec: RunSpec {
                device_mappings: Vec::new(),
                default_instance_memory: image.about.usual_memory_mib,
                min_instance_disk_mb: 0,
                compiler: format!("bhojpur-{}-{provider}", image.about.language),
            },
        }
    }
}

impl From<&model::Instance> for Instance {
    fn from(instance: &model::Instance) -> Self {
        Self {
            id: instance.id.to_string(),
            name: instance.name.clone(),
            state: state(instance.now.phase),
            ip_address: instance.address.map(|address| address.to_string()).unwrap_or_default(),
            image_id: instance.image.to_string(),
            infrastructure: infrastructure(instance.provider),
            created: instance.created.rfc3339(),
        }
    }
}

fn state(phase: model::Phase) -> &'static str {
    use model::Phase;
    match phase {
        Phase::Creating | Phase::Starting | Phase::Restarting => "pending",
        Phase::Running | Phase::Stopping => "running",
        Phase::Paused => "paused",
        Phase::Created | Phase::Stopped => "stopped",
        Phase::Error => "error",
        Phase::Deleting => "terminated",
    }
}

impl From<model::Volume> for Volume {
    fn from(volume: model::Volume) -> Self {
        let attachment = volume.attachments.first().map(|first| first.instance.to_string());
        Self {
            id: volume.id.to_string(),
            name: volume.name,
            size_mb: megabytes(volume.size),
            attachment: attachment.unwrap_or_default(),
            infrastructure: infrastructure(volume.provider),
            created: volume.created.rfc3339(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_capitalised_keys_and_need_not_say_everything() {
        let text = r#"{"InstanceName":"a","ImageName":"b","Mounts":{"/data":"v"},"Env":{"K":"V"},
            "MemoryMb":64,"NoCleanup":false,"DebugMode":true}"#;
        let request: RunRequest = serde_json::from_str(text).unwrap();
        assert_eq!((request.instance_name.as_str(), request.memory_mb), ("a", 64));
        assert_eq!(request.mounts["/data"], "v");
        assert!(request.debug_mode);
        serde_json::from_str::<RunRequest>("{}").unwrap();
    }
}
