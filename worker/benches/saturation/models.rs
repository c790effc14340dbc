//! The models that are measured: an MLP that is made here, and the sample's digits where they are.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use tch::{CModule, Device, Kind, Tensor};
use weir_protocol::{
    Datatype, InferRequest, Tensor as Wire,
    codec::{Encoded, encode_request},
};

/// Largest batch of every model here.
pub(crate) const MAX_BATCH: u32 = 32;

/// Widths of the MLP's layers.
const MLP: [i64; 4] = [1024, 2048, 2048, 1000];

/// A model in a repository of its own.
pub(crate) struct Model {
    /// Its folder's name.
    pub(crate) name: &'static str,
    /// The repository.
    pub(crate) repository: PathBuf,
    /// The model.pt to run bare.
    pub(crate) file: PathBuf,
    /// Name and shape of the input, the batch dimension left out.
    pub(crate) input: (&'static str, &'static [i64]),
}

impl Model {
    /// An inference of one row, in binary form both ways.
    pub(crate) fn request(&self) -> Result<Encoded> {
        let elements: i64 = self.input.1.iter().product();
        let data: Vec<u8> = (0..elements).flat_map(|_| 0.5_f32.to_le_bytes()).collect();
        let shape = std::iter::once(1).chain(self.input.1.iter().map(|dim| dim.unsigned_abs())).collect();
        let input =
            Wire { name: self.input.0.to_owned(), datatype: Datatype::Fp32, shape, data: data.into() };
        let request = InferRequest {
            id: None,
            parameters: Default::default(),
            inputs: vec![input],
            outputs: vec![],
            binary_output: true,
        };
        encode_request(&request, true).context("encoding a request")
    }
}

/// Every model, made in or copied to `folder`.
pub(crate) fn all(folder: &Path) -> Result<Vec<Model>> {
    let mut models = vec![mlp(&folder.join("mlp"))?];
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/digits");
    if sample.join("2/model.pt").is_file() {
        models.push(digits(&sample, &folder.join("digits"))?);
    }
    Ok(models)
}

fn mlp(repository: &Path) -> Result<Model> {
    let [input, .., output] = MLP;
    let toml = format!(
        "max_batch_size = {MAX_BATCH}\n\
         [[input]]\nname = \"x\"\ndatatype = \"FP32\"\nshape = [-1, {input}]\n\
         [[output]]\nname = \"y\"\ndatatype = \"FP32\"\nshape = [-1, {output}]\n"
    );
    let version = repository.join("mlp/1");
    fs::create_dir_all(&version)?;
    fs::write(repository.join("mlp/model.toml"), toml)?;
    let file = version.join("model.pt");
    let _guard = tch::no_grad_guard();
    let layer = |widths: &[i64]| {
        let (from, to) = (widths.first().copied().unwrap_or(1), widths.last().copied().unwrap_or(1));
        Tensor::randn([to, from], (Kind::Float, Device::Cpu)) / 45.0
    };
    let layers: Vec<Tensor> = MLP.windows(2).map(layer).collect();
    let mut forward = |inputs: &[Tensor]| {
        let mut x = inputs.iter().map(Tensor::shallow_clone).next().unwrap_or_default();
        for (index, layer) in layers.iter().enumerate() {
            x = x.linear(layer, None::<&Tensor>);
            if index + 1 < layers.len() {
                x = x.relu();
            }
        }
        vec![x]
    };
    let sample = Tensor::zeros([2, input], (Kind::Float, Device::Cpu));
    CModule::create_by_tracing("Mlp", "forward", &[sample], &mut forward)?.save(&file)?;
    Ok(Model { name: "mlp", repository: repository.to_owned(), file, input: ("x", &MLP[..1]) })
}

fn digits(sample: &Path, repository: &Path) -> Result<Model> {
    let version = repository.join("digits/2");
    fs::create_dir_all(&version)?;
    for file in ["model.toml", "labels.txt"] {
        fs::copy(sample.join(file), repository.join("digits").join(file))?;
    }
    let file = version.join("model.pt");
    fs::copy(sample.join("2/model.pt"), &file)?;
    Ok(Model { name: "digits", repository: repository.to_owned(), file, input: ("image", &[1, 8, 8]) })
}
