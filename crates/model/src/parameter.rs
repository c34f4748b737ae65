//! Types of parameters that differ from burn's in files or in training. A layer declares them by type.

use std::ops::Deref;

use burn::{
    module::{Content, Devices, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper, ModuleVisitor, Param},
    tensor::{Device, Tensor},
};

/// Declares a parameter type that traversals enter under its own name, which is not part of the parameter's name.
macro_rules! told {
    ($(#[$attribute:meta])* $name:ident) => {
        $(#[$attribute])*
        #[derive(Clone, Debug)]
        pub struct $name(Param<Tensor<2>>);

        impl $name {
            /// Container name that a traversal sees when it enters one.
            pub(crate) const CONTAINER: &'static str = stringify!($name);
        }

        impl From<Param<Tensor<2>>> for $name {
            fn from(param: Param<Tensor<2>>) -> Self {
                Self(param)
            }
        }

        impl Deref for $name {
            type Target = Param<Tensor<2>>;

            fn deref(&self) -> &Self::Target {
                &self.0
            }
        }

        impl Module for $name {
            fn collect_devices(&self, devices: Devices) -> Devices {
                self.0.collect_devices(devices)
            }

            fn fork(self, device: &Device) -> Self {
                Self(self.0.fork(device))
            }

            fn to_device(self, device: &Device) -> Self {
                Self(self.0.to_device(device))
            }

            fn train(self) -> Self {
                Self(self.0.train())
            }

            fn valid(&self) -> Self {
                Self(self.0.valid())
            }

            fn materialize(self) -> Self {
                Self(self.0.materialize())
            }

            fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
                visitor.enter_module("", Self::CONTAINER);
                self.0.visit(visitor);
                visitor.exit_module("", Self::CONTAINER);
            }

            fn map<M: ModuleMapper>(self, mapper: &mut M) -> Self {
                mapper.enter_module("", Self::CONTAINER);
                let param = Module::map(self.0, mapper);
                mapper.exit_module("", Self::CONTAINER);
                Self(param)
            }
        }

        impl ModuleDisplayDefault for $name {
            fn content(&self, content: Content) -> Option<Content> {
                self.0.content(content)
            }
        }

        impl ModuleDisplay for $name {}
    };
}

told! {
    /// The matrix W of a map x W: `[d_in, d_out]` in memory, as the kernels read it, and `[d_out, d_in]` in files, as
    /// in PyTorch. All other parameters have the same form in files and in memory.
    Matrix
}

told! {
    /// Numbers that are drawn and saved with the parameters but never trained; they do not count as parameters of the
    /// network.
    Buffer
}
