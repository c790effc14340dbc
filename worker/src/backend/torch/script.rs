//! A TorchScript module and the values that go in and out of it, each freed by its owner however a call ends.
//!
//! `tch` has the same calls, but it loses every argument when a forward fails, so that requests that fail on purpose
//! eat the memory, and it cuts texts off at a NUL. So these are the few functions of torch-sys that a forward pass
//! needs. Part of `torch`; knows nothing of batches or model.toml.

use std::{
    ffi::{CStr, CString, c_int},
    os::unix::ffi::OsStrExt as _,
    path::Path,
    ptr::NonNull,
};

use tch::{TchError, Tensor};
use torch_sys::{CIValue, CModule_};

/// How torch-sys numbers the processor among devices.
const CPU: c_int = -1;

/// A loaded module.
#[derive(Debug)]
pub(super) struct Script(NonNull<CModule_>);

// SAFETY: libtorch's modules may be used from any thread; nothing here is tied to the one that loaded it.
unsafe impl Send for Script {}
// SAFETY: `forward` is the only call on a shared module, and libtorch's interpreter lets many threads run one module at
// the same time, as Python's own servers do.
unsafe impl Sync for Script {}

impl Script {
    /// Loads a file onto the CPU and puts it into evaluation mode.
    ///
    /// # Errors
    /// What libtorch said.
    pub(super) fn load(file: &Path) -> Result<Self, TchError> {
        let path = CString::new(file.as_os_str().as_bytes())?;
        // SAFETY: the path is a C string that outlives the call.
        let script = Self(owned(unsafe { torch_sys::atm_load_on_device(path.as_ptr(), CPU) })?);
        // SAFETY: the module was just loaded and nobody else has it.
        check(unsafe { torch_sys::atm_eval(script.0.as_ptr()) })?;
        Ok(script)
    }

    /// Runs the module's `forward`.
    ///
    /// # Errors
    /// What libtorch or the module said.
    pub(super) fn forward(&self, arguments: &[Value]) -> Result<Value, TchError> {
        let count = length(arguments.len())?;
        let arguments: Vec<*mut CIValue> = arguments.iter().map(|value| value.0.as_ptr()).collect();
        // SAFETY: the module and the `count` values are alive; libtorch copies the values, which are counted
        // references.
        owned(unsafe { torch_sys::atm_forward_(self.0.as_ptr(), arguments.as_ptr(), count) }).map(Value)
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        // SAFETY: this is the only owner, and nothing borrows from it any more.
        unsafe { torch_sys::atm_free(self.0.as_ptr()) }
    }
}

/// An argument or a result of a module.
#[derive(Debug)]
pub(super) struct Value(NonNull<CIValue>);

/// What a value is, as far as results may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Tensor,
    Text,
    Tuple,
    List,
    Dict,
    Other,
}

impl Value {
    /// A tensor, shared and not copied.
    pub(super) fn tensor(tensor: &Tensor) -> Result<Self, TchError> {
        // SAFETY: the tensor is alive; libtorch counts one more reference to it and does not write to the handle.
        owned(unsafe { torch_sys::ati_tensor(tensor.as_ptr().cast_mut()) }).map(Self)
    }

    /// A `List[str]`, copied.
    pub(super) fn texts(texts: &[CString]) -> Result<Self, TchError> {
        let pointers: Vec<_> = texts.iter().map(|text| text.as_ptr()).collect();
        let count = length(pointers.len())?;
        // SAFETY: `count` C strings that outlive the call.
        owned(unsafe { torch_sys::ati_string_list(pointers.as_ptr(), count) }).map(Self)
    }

    pub(super) fn kind(&self) -> Result<Kind, TchError> {
        // SAFETY: the value is alive.
        Ok(match check(unsafe { torch_sys::ati_tag(self.0.as_ptr()) })? {
            1 => Kind::Tensor,
            5 => Kind::Tuple,
            9 => Kind::Text,
            // Of tensors, and of anything but numbers.
            10 | 12 => Kind::List,
            13 => Kind::Dict,
            _ => Kind::Other,
        })
    }

    /// The tensor that this is.
    pub(super) fn to_tensor(&self) -> Result<Tensor, TchError> {
        // SAFETY: the value is alive; libtorch says so if it is no tensor.
        let tensor = owned(unsafe { torch_sys::ati_to_tensor(self.0.as_ptr()) })?;
        // SAFETY: a tensor of our own, which `Tensor` frees.
        Ok(unsafe { Tensor::from_ptr(tensor.as_ptr()) })
    }

    /// The bytes of the text that this is.
    pub(super) fn to_text(&self) -> Result<Vec<u8>, TchError> {
        // SAFETY: the value is alive; libtorch says so if it is no text.
        let text = owned(unsafe { torch_sys::ati_to_string(self.0.as_ptr()) })?;
        // SAFETY: a C string of our own from malloc, read and then freed once.
        let bytes = unsafe {
            let bytes = CStr::from_ptr(text.as_ptr()).to_bytes().to_vec();
            libc::free(text.as_ptr().cast());
            bytes
        };
        // The copy ends at the first NUL, and half a text would look like a whole one.
        if self.len()? == bytes.len() {
            Ok(bytes)
        } else {
            Err(TchError::Kind("the model gave a text with a NUL in it".to_owned()))
        }
    }

    /// The items of the tuple or list that this is.
    pub(super) fn items(&self) -> Result<Vec<Self>, TchError> {
        let is_tuple = self.kind()? == Kind::Tuple;
        let mut items = vec![std::ptr::null_mut(); self.len()?];
        let (count, out) = (length(items.len())?, items.as_mut_ptr());
        // SAFETY: room for as many items as there are, which libtorch checks; each becomes ours.
        check(unsafe {
            if is_tuple {
                torch_sys::ati_to_tuple(self.0.as_ptr(), out, count);
            } else {
                torch_sys::ati_to_generic_list(self.0.as_ptr(), out, count);
            }
        })?;
        Ok(items.into_iter().filter_map(NonNull::new).map(Self).collect())
    }

    /// The keys and values of the dict that this is.
    pub(super) fn pairs(&self) -> Result<Vec<(Self, Self)>, TchError> {
        let count = self.len()?;
        let mut slots = vec![std::ptr::null_mut(); 2 * count];
        // SAFETY: room for a key and a value for each of the entries, whose number libtorch checks.
        check(unsafe {
            torch_sys::ati_to_generic_dict(self.0.as_ptr(), slots.as_mut_ptr(), length(count)?);
        })?;
        let mut values = slots.into_iter().filter_map(NonNull::new).map(Self);
        Ok(std::iter::from_fn(|| values.next().zip(values.next())).collect())
    }

    /// Items, entries or bytes.
    fn len(&self) -> Result<usize, TchError> {
        // SAFETY: the value is alive; libtorch says so if it has no length.
        let length = check(unsafe { torch_sys::ati_length(self.0.as_ptr()) })?;
        usize::try_from(length).map_err(|_| too_long())
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        // SAFETY: this is the only owner of the handle; what it refers to is counted.
        unsafe { torch_sys::ati_free(self.0.as_ptr()) }
    }
}

/// What a call gave, unless it failed.
fn owned<T>(pointer: *mut T) -> Result<NonNull<T>, TchError> {
    NonNull::new(check(pointer)?).ok_or_else(|| TchError::Torch("libtorch gave nothing".to_owned()))
}

/// The result of the call just made on this thread, unless it failed.
fn check<T>(result: T) -> Result<T, TchError> {
    // SAFETY: takes the calling thread's error, null or a C string from malloc that is ours now.
    let error = unsafe { torch_sys::get_and_reset_last_err() };
    if error.is_null() {
        return Ok(result);
    }
    // SAFETY: as above; read and then freed once.
    let text = unsafe {
        let text = CStr::from_ptr(error).to_string_lossy().into_owned();
        libc::free(error.cast());
        text
    };
    Err(TchError::Torch(text))
}

fn length(count: usize) -> Result<c_int, TchError> {
    c_int::try_from(count).map_err(|_| too_long())
}

fn too_long() -> TchError {
    TchError::Kind("libtorch's lists have at most 2,147,483,647 items".to_owned())
}
