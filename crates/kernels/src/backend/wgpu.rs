//! GPUs through wgpu, with kernels in WGSL or SPIR-V.

use burn::{
    backend::DispatchDevice,
    tensor::{Device, DeviceKind, DeviceType},
};

use super::{Adapter, quietly};

/// Every adapter, with kernels in WGSL.
pub(super) fn wgsl() -> Vec<Adapter> {
    #[cfg(feature = "vulkan")]
    spirv::register_wgsl();
    // Enumeration panics if no graphics driver is installed.
    let real = quietly(|| Device::enumerate(DeviceType::Wgpu).into_vec()).unwrap_or_default();
    let mut found: Vec<Adapter> = Vec::new();
    for device in real.into_iter().chain([Device::wgpu(DeviceKind::Cpu)]) {
        if !found.iter().any(|other| other.device == device) {
            found.extend(adapter(device));
        }
    }
    found.sort_by_key(|adapter| adapter.software);
    found
}

/// Adapters of Vulkan with kernels in SPIR-V.
#[cfg(feature = "vulkan")]
pub(super) fn spirv() -> Vec<Adapter> {
    let adapters = spirv::opened().iter().filter_map(|(device, _)| adapter(Device::from(spirv::cube(device))));
    // A driver without what SPIR-V needs has been given WGSL.
    let mut found: Vec<_> = adapters.filter(|adapter| adapter.compiler == spirv::COMPILER).collect();
    found.sort_by_key(|adapter| adapter.software);
    found
}

fn adapter(device: Device) -> Option<Adapter> {
    let DispatchDevice::Cube(cube) = device.as_dispatch() else { return None };
    let client = quietly(|| cube.client())?;
    let identity = client.properties().identity.clone();
    Some(Adapter { name: identity.name, software: identity.physical.is_none(), compiler: client.name(), device })
}

/// Vulkan's adapters, which have two compilers. In a build with SPIR-V, CubeCL gives it to every adapter that takes it. Old
/// software drivers take it and then crash on tiled products, so each adapter is opened a second time, with WGSL.
#[cfg(feature = "vulkan")]
mod spirv {
    use std::sync::{Arc, Once, OnceLock};

    use burn::{
        backend::DispatchDevice,
        tensor::{Device, DeviceType},
    };
    use cubecl::{
        MemoryConfiguration, WgpuCompilationOptions,
        client::Client,
        device::{Device as CubeDevice, WgpuDevice},
        features::{AtomicUsage, Features, Plane, TypeUsage},
        ir::{
            AddressType, DeviceProperties, ElemType, FloatKind, IntKind, MmaProperties, TargetProperties, Type,
            UIntKind,
        },
        logging::ServerLogger,
        server::ServerUtilities,
        wgpu::{AutoCompiler, AutoGraphicsApi, RuntimeOptions, WgpuServer, WgpuSetup, try_init_setup, wgpu},
    };
    use cubecl_common::device::{Device as _, ServiceId};
    use cubecl_server::allocator::ContiguousMemoryLayoutPolicy;

    use super::quietly;

    /// How the runtime names itself with SPIR-V.
    pub(super) const COMPILER: &str = "wgpu<spirv>";

    pub(super) fn cube(device: &WgpuDevice) -> CubeDevice {
        CubeDevice::Wgpu(device.clone())
    }

    /// All adapters on Vulkan, opened once in a process.
    pub(super) fn opened() -> &'static [(WgpuDevice, WgpuSetup)] {
        static OPENED: OnceLock<Vec<(WgpuDevice, WgpuSetup)>> = OnceLock::new();
        OPENED.get_or_init(|| {
            let there = quietly(|| Device::enumerate(DeviceType::Vulkan).into_vec()).unwrap_or_default();
            let open = |device: Device| {
                let DispatchDevice::Cube(CubeDevice::Wgpu(device)) = device.as_dispatch() else { return None };
                let options = RuntimeOptions::try_default().ok()?;
                let setup = quietly(|| try_init_setup::<AutoGraphicsApi>(device, options))?.ok()?;
                Some((device.clone(), setup))
            };
            there.into_iter().filter_map(open).collect()
        })
    }

    /// Gives each adapter's device of no particular interface a server that compiles WGSL, before anything else opens it.
    pub(super) fn register_wgsl() {
        static REGISTERED: Once = Once::new();
        REGISTERED.call_once(|| {
            for (device, setup) in opened() {
                let client = cube(device).client();
                if client.name() == COMPILER {
                    let _ = quietly(|| serve_wgsl(&WgpuDevice::new(device.kind.clone()), setup, client.properties()));
                }
            }
        });
    }

    /// What [`try_init_setup`] does for an adapter whose driver takes no SPIR-V.
    fn serve_wgsl(device: &WgpuDevice, setup: &WgpuSetup, with_spirv: &DeviceProperties) -> Option<Client> {
        let id = device.to_id();
        let options = RuntimeOptions::try_default().ok()?;
        let mut properties = with_spirv.clone();
        properties.features = Features::default();
        if with_spirv.features.plane.contains(Plane::Ops) {
            properties.features.plane.insert(Plane::Ops);
        }
        let limits = setup.device.limits();
        properties.memory.max_page_size = limits.max_storage_buffer_binding_size.min(limits.max_buffer_size);
        properties.hardware.max_vector_size = 4;
        properties.hardware.cube_mma_reserved_shared_memory = 0;
        // Choices and compiled kernels are no use to the other compiler.
        properties.identity.fingerprint = properties.identity.fingerprint.replace("spirv", "wgsl");
        register_types(&mut properties, setup.adapter.features());
        let compilation = WgpuCompilationOptions {
            supports_u64: properties.supports_type(ElemType::UInt(UIntKind::U64)),
            ..WgpuCompilationOptions::default()
        };
        let (memory, timing) = (properties.memory.clone(), properties.timing_method);
        let allocator = ContiguousMemoryLayoutPolicy::new(properties.memory.alignment as usize);
        let (utilities, captures) = ServerUtilities::init(
            ServiceId::of::<WgpuServer<AutoCompiler>>(id),
            "wgpu<wgsl>",
            properties,
            TargetProperties { mma: MmaProperties::default() },
            Arc::new(ServerLogger::default()),
            allocator,
        );
        let server = WgpuServer::<AutoCompiler>::new(
            memory,
            MemoryConfiguration::default(),
            compilation,
            setup.device.clone(),
            setup.queue.clone(),
            options.tasks_max,
            setup.backend,
            timing,
            utilities,
            captures,
        );
        Client::try_init(id, server).ok()
    }

    /// The types of WGSL.
    fn register_types(properties: &mut DeviceProperties, features: wgpu::Features) {
        let has = |feature| features.contains(feature);
        let int64 = has(wgpu::Features::SHADER_INT64);
        let types = [
            (ElemType::Index, true),
            (ElemType::UInt(UIntKind::U32), true),
            (ElemType::Int(IntKind::I32), true),
            (ElemType::Float(FloatKind::F32), true),
            (ElemType::Float(FloatKind::Flex32), true),
            (ElemType::Bool, true),
            (ElemType::Int(IntKind::I64), int64),
            (ElemType::UInt(UIntKind::U64), int64),
            (ElemType::Float(FloatKind::F64), has(wgpu::Features::SHADER_F64)),
            (ElemType::Float(FloatKind::F16), has(wgpu::Features::SHADER_F16)),
        ];
        let atomics = [
            (ElemType::Int(IntKind::I32), true),
            (ElemType::UInt(UIntKind::U32), true),
            (ElemType::Float(FloatKind::F32), has(wgpu::Features::SHADER_FLOAT32_ATOMIC)),
        ];
        properties.register_address_type(AddressType::U32);
        for (kind, _) in types.into_iter().filter(|(_, has)| *has) {
            properties.register_type_usage(kind, TypeUsage::all());
        }
        for (kind, _) in atomics.into_iter().filter(|(_, has)| *has) {
            let usage = AtomicUsage::LoadStore | AtomicUsage::Exchange | AtomicUsage::Add;
            properties.register_atomic_type_usage(Type::atomic(kind), usage);
        }
    }
}
