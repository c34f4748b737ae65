//! Parameters that are something else in files or in training than burn takes a parameter for. A layer says so by their type.

use std::ops::Deref;

use burn::{
    module::{Content, Devices, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper, ModuleVisitor, Param},
    tensor::{Device, Tensor},
};

/// Declares a parameter that a traversal enters by a name of its own, which is no part of the parameter's name.
macro_rules! told {
    ($(#[$attribute:meta])* $name:ident) => {
        $(#[$attribute])*
        #[derive(Clone, Debug)]
        pub struct $name(Param<Tensor<2>>);

        impl $name {
            /// What a traversal is told when it enters one.
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
    /// The matrix W of a map x W: `[d_in, d_out]` in memory, where the kernels read it, and `[d_out, d_in]` in files, as PyTorch has it.
    /// Every other parameter is in files what it is in memory.
    Matrix
}

told! {
    /// Numbers that are drawn with the parameters and saved with them, and never trained: no parameter of the network.
    Buffer
}
