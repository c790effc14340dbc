//! The models that are measured, both made here: a small convolutional net, and one that does next to nothing, so
//! that what is left is the worker itself.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use tch::{CModule, Device, Kind, Tensor};
use weir_protocol::{
    Datatype, InferRequest, Tensor as Wire,
    codec::{Encoded, encode_request},
};

/// Channels, height and width of the image.
const IMAGE: [i64; 3] = [3, 64, 64];

/// Classes that either model tells.
const CLASSES: i64 = 10;

/// Channels after each convolution of the net, each of which halves height and width.
const CHANNELS: [i64; 5] = [3, 16, 32, 64, 128];

/// A model in the repository.
pub(crate) struct Model {
    /// Its folder's name.
    pub(crate) name: &'static str,
}

/// Every model, made in the repository.
pub(crate) fn all(repository: &Path) -> Result<Vec<Model>> {
    let _guard = tch::no_grad_guard();
    let weights: Vec<Tensor> = CHANNELS.windows(2).map(convolution).collect();
    let last = random(&[CLASSES, *CHANNELS.last().context("channels")?]);
    let net = |image: &Tensor| {
        let mut x = image.shallow_clone();
        for weight in &weights {
            x = x.conv2d(weight, None::<&Tensor>, [2, 2], [1, 1], [1, 1], 1).relu();
        }
        x.mean_dim(&[2_i64, 3][..], false, Kind::Float)
            .linear(&last, None::<&Tensor>)
            .softmax(-1, Kind::Float)
    };
    let nothing = |image: &Tensor| image.slice(3, 0, CLASSES, 1).select(1, 0).select(1, 0).contiguous();
    Ok(vec![save(repository, "convnet", net)?, save(repository, "empty", nothing)?])
}

/// An inference of one image, both ways as JSON or both ways in binary form.
pub(crate) fn request(binary: bool) -> Result<Encoded> {
    let elements = IMAGE.iter().product::<i64>();
    // Pixels as a client has them after normalising: as many digits as an FP32 can have.
    let pixel = |at: i64| ((at * 7919 % 1009) as f32 / 1009.0).mul_add(4.0, -2.0);
    let data: Vec<u8> = (0..elements).flat_map(|at| pixel(at).to_le_bytes()).collect();
    let shape = std::iter::once(1).chain(IMAGE.iter().map(|dim| dim.unsigned_abs())).collect();
    let input = Wire { name: "image".to_owned(), datatype: Datatype::Fp32, shape, data: data.into() };
    let request = InferRequest {
        id: None,
        parameters: Default::default(),
        inputs: vec![input],
        outputs: vec![],
        binary_output: binary,
    };
    encode_request(&request, binary).context("encoding a request")
}

fn convolution(channels: &[i64]) -> Tensor {
    let (from, to) = (channels.first().copied().unwrap_or(1), channels.last().copied().unwrap_or(1));
    random(&[to, from, 3, 3])
}

fn random(shape: &[i64]) -> Tensor {
    Tensor::randn(shape, (Kind::Float, Device::Cpu)) / 10.0
}

fn save(repository: &Path, name: &'static str, forward: impl Fn(&Tensor) -> Tensor) -> Result<Model> {
    let [channels, height, width] = IMAGE;
    // Batches of one row: with larger ones a request would cost less the slower they come.
    let toml = format!(
        "max_batch_size = 1\n\
         [[input]]\nname = \"image\"\ndatatype = \"FP32\"\nshape = [-1, {channels}, {height}, {width}]\n\
         [[output]]\nname = \"scores\"\ndatatype = \"FP32\"\nshape = [-1, {CLASSES}]\n"
    );
    let version = repository.join(name).join("1");
    fs::create_dir_all(&version)?;
    fs::write(repository.join(name).join("model.toml"), toml)?;
    let sample = Tensor::zeros([1, channels, height, width], (Kind::Float, Device::Cpu));
    let mut traced = |inputs: &[Tensor]| inputs.iter().map(&forward).collect::<Vec<_>>();
    CModule::create_by_tracing("Model", "forward", &[sample], &mut traced)?.save(version.join("model.pt"))?;
    Ok(Model { name })
}
