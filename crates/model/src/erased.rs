//! Modules whose types this crate does not know.
//!
//! burn's `Module` is generic over its visitors and mappers, so it cannot be a trait object; here parameters are passed as `Any`.

use std::{
    any::Any,
    fmt,
    ops::{Deref, DerefMut},
};

use burn::{
    module::{Content, Devices, Flag, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper, ModuleVisitor, Param},
    tensor::{Bool, Device, Int, Tensor},
};

/// A module of any type, seen as a `T`. Its parameters have at most eight axes.
pub struct Erased<T: ?Sized> {
    module: Box<dyn AnyModule>,
    view: fn(&dyn Any) -> &T,
    view_mut: fn(&mut dyn Any) -> &mut T,
}

impl<T: ?Sized> Erased<T> {
    /// The views are those of the module's type: [`of`] and [`of_mut`].
    pub(crate) fn new<M: Module + Sync + 'static>(
        module: M,
        view: fn(&dyn Any) -> &T,
        view_mut: fn(&mut dyn Any) -> &mut T,
    ) -> Self {
        Self { module: Box::new(module), view, view_mut }
    }

    fn with(&self, module: Box<dyn AnyModule>) -> Self {
        Self { module, ..*self }
    }
}

/// The value, which must be an `M`.
pub(crate) fn of<M: 'static>(any: &dyn Any) -> &M {
    any.downcast_ref().unwrap_or_else(|| unreachable!("{KEEPS}"))
}

/// The value, which must be an `M`.
pub(crate) fn of_mut<M: 'static>(any: &mut dyn Any) -> &mut M {
    any.downcast_mut().unwrap_or_else(|| unreachable!("{KEEPS}"))
}

const KEEPS: &str = "a module and its parameters keep their types";

impl<T: ?Sized> Deref for Erased<T> {
    type Target = T;

    fn deref(&self) -> &T {
        (self.view)(&*self.module)
    }
}

impl<T: ?Sized> DerefMut for Erased<T> {
    fn deref_mut(&mut self) -> &mut T {
        (self.view_mut)(&mut *self.module)
    }
}

/// A module of any type.
trait AnyModule: Any + fmt::Debug + Send + Sync {
    fn duplicate(&self) -> Box<dyn AnyModule>;
    fn collect_devices(&self, devices: Devices) -> Devices;
    fn fork(self: Box<Self>, device: &Device) -> Box<dyn AnyModule>;
    fn to_device(self: Box<Self>, device: &Device) -> Box<dyn AnyModule>;
    fn train(self: Box<Self>) -> Box<dyn AnyModule>;
    fn valid(&self) -> Box<dyn AnyModule>;
    fn materialize(self: Box<Self>) -> Box<dyn AnyModule>;
    fn visit(&self, visitor: &mut dyn AnyVisitor);
    fn map(self: Box<Self>, mapper: &mut dyn AnyMapper) -> Box<dyn AnyModule>;
}

impl<M: Module + Sync + 'static> AnyModule for M {
    fn duplicate(&self) -> Box<dyn AnyModule> {
        Box::new(self.clone())
    }

    fn collect_devices(&self, devices: Devices) -> Devices {
        Module::collect_devices(self, devices)
    }

    fn fork(self: Box<Self>, device: &Device) -> Box<dyn AnyModule> {
        Box::new(Module::fork(*self, device))
    }

    fn to_device(self: Box<Self>, device: &Device) -> Box<dyn AnyModule> {
        Box::new(Module::to_device(*self, device))
    }

    fn train(self: Box<Self>) -> Box<dyn AnyModule> {
        Box::new(Module::train(*self))
    }

    fn valid(&self) -> Box<dyn AnyModule> {
        Box::new(Module::valid(self))
    }

    fn materialize(self: Box<Self>) -> Box<dyn AnyModule> {
        Box::new(Module::materialize(*self))
    }

    fn visit(&self, visitor: &mut dyn AnyVisitor) {
        Module::visit(self, &mut Typed(visitor));
    }

    fn map(self: Box<Self>, mapper: &mut dyn AnyMapper) -> Box<dyn AnyModule> {
        Box::new(Module::map(*self, &mut Typed(mapper)))
    }
}

impl<T: ?Sized + 'static> Module for Erased<T> {
    fn collect_devices(&self, devices: Devices) -> Devices {
        self.module.collect_devices(devices)
    }

    fn fork(self, device: &Device) -> Self {
        Self { module: self.module.fork(device), ..self }
    }

    fn to_device(self, device: &Device) -> Self {
        Self { module: self.module.to_device(device), ..self }
    }

    fn train(self) -> Self {
        Self { module: self.module.train(), ..self }
    }

    fn valid(&self) -> Self {
        self.with(self.module.valid())
    }

    fn materialize(self) -> Self {
        Self { module: self.module.materialize(), ..self }
    }

    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        self.module.visit(visitor);
    }

    fn map<M: ModuleMapper>(self, mapper: &mut M) -> Self {
        Self { module: self.module.map(mapper), ..self }
    }
}

impl<T: ?Sized> Clone for Erased<T> {
    fn clone(&self) -> Self {
        self.with(self.module.duplicate())
    }
}

impl<T: ?Sized> fmt::Debug for Erased<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.module.fmt(f)
    }
}

impl<T: ?Sized> ModuleDisplayDefault for Erased<T> {
    fn content(&self, content: Content) -> Option<Content> {
        Some(content)
    }
}

impl<T: ?Sized> ModuleDisplay for Erased<T> {}

/// A visitor that receives parameters as `Any`.
trait AnyVisitor {
    fn param(&mut self, param: &dyn Any);
    fn flag(&mut self, flag: &Param<Flag>);
    fn enter(&mut self, name: &str, container: &str);
    fn exit(&mut self, name: &str, container: &str);
}

/// A mapper that receives parameters as `Any`.
trait AnyMapper {
    fn param(&mut self, param: Box<dyn Any>) -> Box<dyn Any>;
    fn flag(&mut self, flag: Param<Flag>) -> Param<Flag>;
    fn enter(&mut self, name: &str, container: &str);
    fn exit(&mut self, name: &str, container: &str);
}

/// Passes a parameter on with its actual type.
macro_rules! by_type {
    ($param:ident, $downcast:ident, |$found:ident| $float:expr, $int:expr, $bool:expr; $($rank:literal)+) => {
        $(
            by_type!(@one $param, $downcast, Tensor<$rank>, $found, $float);
            by_type!(@one $param, $downcast, Tensor<$rank, Int>, $found, $int);
            by_type!(@one $param, $downcast, Tensor<$rank, Bool>, $found, $bool);
        )+
    };
    (@one $param:ident, downcast_ref, $tensor:ty, $found:ident, $hand_on:expr) => {
        if let Some($found) = $param.downcast_ref::<Param<$tensor>>() {
            return $hand_on;
        }
    };
    (@one $param:ident, downcast, $tensor:ty, $found:ident, $hand_on:expr) => {
        let $param = match $param.downcast::<Param<$tensor>>() {
            Ok($found) => return Box::new($hand_on),
            Err(other) => other,
        };
    };
}

impl<V: ModuleVisitor> AnyVisitor for V {
    fn param(&mut self, param: &dyn Any) {
        by_type!(param, downcast_ref, |p| self.visit_float(p), self.visit_int(p), self.visit_bool(p); 1 2 3 4 5 6 7 8);
        unreachable!("a parameter of more than eight axes");
    }

    fn flag(&mut self, flag: &Param<Flag>) {
        self.visit_flag(flag);
    }

    fn enter(&mut self, name: &str, container: &str) {
        self.enter_module(name, container);
    }

    fn exit(&mut self, name: &str, container: &str) {
        self.exit_module(name, container);
    }
}

impl<M: ModuleMapper> AnyMapper for M {
    fn param(&mut self, param: Box<dyn Any>) -> Box<dyn Any> {
        by_type!(param, downcast, |p| self.map_float(*p), self.map_int(*p), self.map_bool(*p); 1 2 3 4 5 6 7 8);
        unreachable!("a parameter of more than eight axes: {param:?}");
    }

    fn flag(&mut self, flag: Param<Flag>) -> Param<Flag> {
        self.map_flag(flag)
    }

    fn enter(&mut self, name: &str, container: &str) {
        self.enter_module(name, container);
    }

    fn exit(&mut self, name: &str, container: &str) {
        self.exit_module(name, container);
    }
}

/// Receives parameters of any type and passes them on as `Any`.
struct Typed<'a, H: ?Sized>(&'a mut H);

impl ModuleVisitor for Typed<'_, dyn AnyVisitor + '_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0.param(param);
    }

    fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, Int>>) {
        self.0.param(param);
    }

    fn visit_bool<const D: usize>(&mut self, param: &Param<Tensor<D, Bool>>) {
        self.0.param(param);
    }

    fn visit_flag(&mut self, flag: &Param<Flag>) {
        self.0.flag(flag);
    }

    fn enter_module(&mut self, name: &str, container: &str) {
        self.0.enter(name, container);
    }

    fn exit_module(&mut self, name: &str, container: &str) {
        self.0.exit(name, container);
    }
}

impl Typed<'_, dyn AnyMapper + '_> {
    fn param<P: 'static>(&mut self, param: P) -> P {
        *self.0.param(Box::new(param)).downcast().unwrap_or_else(|_| unreachable!("{KEEPS}"))
    }
}

impl ModuleMapper for Typed<'_, dyn AnyMapper + '_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        self.param(param)
    }

    fn map_int<const D: usize>(&mut self, param: Param<Tensor<D, Int>>) -> Param<Tensor<D, Int>> {
        self.param(param)
    }

    fn map_bool<const D: usize>(&mut self, param: Param<Tensor<D, Bool>>) -> Param<Tensor<D, Bool>> {
        self.param(param)
    }

    fn map_flag(&mut self, flag: Param<Flag>) -> Param<Flag> {
        self.0.flag(flag)
    }

    fn enter_module(&mut self, name: &str, container: &str) {
        self.0.enter(name, container);
    }

    fn exit_module(&mut self, name: &str, container: &str) {
        self.0.exit(name, container);
    }
}
