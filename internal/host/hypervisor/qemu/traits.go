package qemu

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"nephos/internal/hostapi"
)

// cpuTraits are the names of os-traits for the CPU properties of QEMU's model expansion.
var cpuTraits = map[string][]string{
	"3dnow": {"HW_CPU_X86_3DNOW"}, "abm": {"HW_CPU_X86_ABM"}, "aes": {"HW_CPU_X86_AESNI"}, "avx": {"HW_CPU_X86_AVX"}, "avx2": {"HW_CPU_X86_AVX2"},
	"avx512bw": {"HW_CPU_X86_AVX512BW"}, "avx512cd": {"HW_CPU_X86_AVX512CD"}, "avx512dq": {"HW_CPU_X86_AVX512DQ"}, "avx512f": {"HW_CPU_X86_AVX512F"}, "avx512vl": {"HW_CPU_X86_AVX512VL"},
	"avx512vnni": {"HW_CPU_X86_AVX512VNNI"}, "bmi1": {"HW_CPU_X86_BMI"}, "bmi2": {"HW_CPU_X86_BMI2"}, "pclmulqdq": {"HW_CPU_X86_CLMUL"}, "f16c": {"HW_CPU_X86_F16C"},
	"fma": {"HW_CPU_X86_FMA3"}, "mmx": {"HW_CPU_X86_MMX"}, "pdpe1gb": {"HW_CPU_X86_PDPE1GB"}, "sha-ni": {"HW_CPU_X86_SHA"}, "sse": {"HW_CPU_X86_SSE"}, "sse2": {"HW_CPU_X86_SSE2"},
	"pni": {"HW_CPU_X86_SSE3"}, "sse4.1": {"HW_CPU_X86_SSE41"}, "sse4.2": {"HW_CPU_X86_SSE42"}, "sse4a": {"HW_CPU_X86_SSE4A"}, "ssse3": {"HW_CPU_X86_SSSE3"}, "stibp": {"HW_CPU_X86_STIBP"},
	"rtm": {"HW_CPU_X86_TSX"}, "vmx": {"HW_CPU_X86_VMX", "HW_CPU_X86_INTEL_VMX"}, "svm": {"HW_CPU_X86_SVM", "HW_CPU_X86_AMD_SVM"},
}

// deviceTraits are what this driver does for every guest, whatever the processor: the buses of diskFrontend, the models of nicFrontend, the image formats
// that the image cache boots, the firmware of the machine, and what can be changed while a guest runs.
var deviceTraits = []string{
	"COMPUTE_FIRMWARE_BIOS", "COMPUTE_GRAPHICS_MODEL_NONE", "COMPUTE_GRAPHICS_MODEL_VGA", "COMPUTE_IMAGE_TYPE_AMI", "COMPUTE_IMAGE_TYPE_ISO", "COMPUTE_IMAGE_TYPE_QCOW2", "COMPUTE_IMAGE_TYPE_RAW", "COMPUTE_NET_ATTACH_INTERFACE", "COMPUTE_NET_VIF_MODEL_E1000", "COMPUTE_NET_VIF_MODEL_E1000E",
	"COMPUTE_NET_VIF_MODEL_RTL8139", "COMPUTE_NET_VIF_MODEL_VIRTIO", "COMPUTE_NET_VIRTIO_PACKED", "COMPUTE_NODE", "COMPUTE_STORAGE_BUS_IDE", "COMPUTE_STORAGE_BUS_SATA", "COMPUTE_STORAGE_BUS_SCSI", "COMPUTE_STORAGE_BUS_VIRTIO",
	"COMPUTE_VOLUME_ATTACH", "COMPUTE_VOLUME_EXTEND",
}

// screenTraits are the screens that a QEMU may lack, by their devices: distributions put some into packages of their own.
var screenTraits = map[string]string{"bochs-display": "COMPUTE_GRAPHICS_MODEL_BOCHS", "cirrus-vga": "COMPUTE_GRAPHICS_MODEL_CIRRUS", "virtio-vga": "COMPUTE_GRAPHICS_MODEL_VIRTIO"}

// traits lists what guests find here, sorted, with blanks between: the CPU that they would get is asked of QEMU itself, because under TCG it has nothing to do with the host's own.
func traits(ctx context.Context, binary, accel string, cred *syscall.Credential) (string, error) {
	out := slices.Clone(deviceTraits)
	switch runtime.GOARCH {
	case "amd64":
		out = append(out, "HW_ARCH_X86_64")
	case "arm64":
		out = append(out, "HW_ARCH_AARCH64")
	}
	props, devices, err := cpuProperties(ctx, binary, accel, cred)
	if err != nil {
		return "", err
	}
	for _, d := range devices {
		out = append(out, screenTraits[d])
	}
	if accel == "kvm" { // TCG counts nothing
		out = append(out, hostapi.TraitPMU)
	}
	for prop, names := range cpuTraits {
		if on, _ := props[prop].(bool); on {
			out = append(out, names...)
		}
	}
	slices.Sort(out)
	return strings.Join(out, " "), nil
}

// cpuProperties asks a QEMU without guest for the properties of the CPU model that guests get (QMP query-cpu-model-expansion, type full), and which of the devices of
// screenTraits it has.
func cpuProperties(ctx context.Context, binary, accel string, cred *syscall.Credential) (props map[string]any, devices []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	model := "max"
	if accel == "kvm" {
		model = "host"
	}
	var questions string
	for d := range screenTraits {
		questions += `{"execute": "device-list-properties", "id": "` + d + `", "arguments": {"typename": "` + d + `"}}` + "\n"
	}
	cmd := exec.CommandContext(ctx, binary, "-nodefaults", "-no-user-config", "-sandbox", sandbox, "-machine", "pc,usb=off", "-accel", accel, "-cpu", model, "-m", "32", "-display", "none", "-S", "-qmp", "stdio")
	cmd.Env, cmd.Dir = environment, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: cred}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Stdin = strings.NewReader(`{"execute": "qmp_capabilities"}
{"execute": "query-cpu-model-expansion", "id": "model", "arguments": {"type": "full", "model": {"name": "` + model + `"}}}
` + questions + `{"execute": "quit"}
`)
	out, err := cmd.Output()
	if err != nil {
		return nil, nil, fmt.Errorf("CPU model %s of %s: %w", model, binary, err)
	}
	lines := bufio.NewScanner(strings.NewReader(string(out)))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var answer struct {
			ID     string          `json:"id"`
			Return json.RawMessage `json:"return"`
		}
		if json.Unmarshal(lines.Bytes(), &answer) != nil || len(answer.Return) == 0 {
			continue
		}
		var expansion struct {
			Model struct {
				Props map[string]any `json:"props"`
			} `json:"model"`
		}
		switch {
		case screenTraits[answer.ID] != "":
			devices = append(devices, answer.ID)
		case answer.ID == "model" && json.Unmarshal(answer.Return, &expansion) == nil:
			props = expansion.Model.Props
		}
	}
	if props == nil {
		return nil, nil, errors.Join(fmt.Errorf("CPU model %s of %s: no answer in %.200q", model, binary, out), lines.Err())
	}
	return props, devices, nil
}
