package compute

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"nephos/internal/fault"
	"nephos/internal/hostapi"
)

// What flavor and image say of a server's devices and of what it may use of its host, beyond its layout. Words (words.go) says of each key what becomes of it.

// Hardware is what becomes of them on a host.
type Hardware struct {
	Machine hostapi.MachineOptions
	Limits  hostapi.Limits
	Traits  []string // that a host must have for it, sorted
}

// hardware reads the keys one by one, and keeps the first complaint.
type hardware struct {
	wants
	Hardware
	err error
	key string // that err is about
}

// Hardware reads the flavor and an image's properties. The error is fault.KindInvalid and names the key that has no meaning, or that no host here can do; the rest is read all
// the same: a server that was made before its key was refused goes on as it was.
func (f Flavor) Hardware(props map[string]string) (Hardware, error) {
	if len(f.ExtraSpecs) == 0 && len(props) == 0 {
		return Hardware{}, nil
	}
	h := hardware{wants: wants{f, props}}
	for k, v := range f.ExtraSpecs {
		h.foreign(k, v)
	}
	for k, v := range props {
		h.foreign(k, v)
	}
	if len(props) > 0 {
		h.image()
	}
	h.devices()
	h.processor()
	if speaks(f.ExtraSpecs, "quota:") {
		h.limits()
	}
	slices.Sort(h.Traits)
	return h.Hardware, h.err
}

// fail keeps the complaint about the first key in the order of their names, so that the same flavor and image are always refused for the same.
func (h *hardware) fail(key, format string, args ...any) {
	if h.err == nil || key < h.key {
		h.err, h.key = fault.Invalid(key, format, args...), key
	}
}

// foreign refuses a key that words.go calls refused, unless its value asks for nothing.
func (h *hardware) foreign(key, value string) {
	w, known := Words[key]
	if !known || w.Bearing != Refused || w.elsewhere {
		return
	}
	if !slices.Contains(w.harmless, strings.ToLower(strings.TrimSpace(value))) {
		h.fail(key, "%s=%s is asked for, which no host of this cloud can do: %s.", key, value, w.Why)
	}
}

// either is the flavor's word and its key, or else the image's.
func (h *hardware) either(spec, prop string) (key, value string) {
	if v := h.flavor.ExtraSpecs[spec]; v != "" {
		return spec, v
	}
	return prop, h.props[prop]
}

// choice reads a property that must be one of some words; "" when there is none.
func (h *hardware) choice(key, value string, of ...string) string {
	switch {
	case value == "":
	case slices.Contains(of, value):
		return value
	default:
		h.fail(key, "%s=%s is none of %s.", key, value, strings.Join(of, ", "))
	}
	return ""
}

// truth reads a boolean in Nova's words; said is false when there is none.
func (h *hardware) truth(key, value string) (is, said bool) {
	switch strings.ToLower(strings.TrimSpace(value)) {
	case "":
		return false, false
	case "1", "t", "true", "on", "y", "yes":
		return true, true
	case "0", "f", "false", "off", "n", "no":
		return false, true
	}
	h.fail(key, "%s=%s is no boolean.", key, value)
	return false, false
}

// same reads a boolean of which flavor and image must not say different things (Nova).
func (h *hardware) same(spec, prop string) (is, said bool) {
	is, said = h.truth(spec, h.flavor.ExtraSpecs[spec])
	image, imageSaid := h.truth(prop, h.props[prop])
	if said && imageSaid && is != image {
		h.fail(spec, "The flavor's %s=%s and the image's %s=%s contradict each other.", spec, h.flavor.ExtraSpecs[spec], prop, h.props[prop])
	}
	return is || image, said || imageSaid
}

// number reads a whole number within bounds; 0 when there is none.
func (h *hardware) number(key, value string, least, most int64) int64 {
	if value == "" {
		return 0
	}
	n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
	if err != nil || n < least || n > most {
		h.fail(key, "%s=%s is not a number from %d to %d.", key, value, least, most)
		return 0
	}
	return n
}

func (h *hardware) need(trait string) { h.Traits = append(h.Traits, trait) }

// machineForm is the machine type with its versions that QEMU keeps for guests that must not see a newer one.
var machineForm = regexp.MustCompile(`^pc(-i440fx-[0-9]+\.[0-9]+)?$`)

// The models of screens, with the traits of hosts whose QEMU has them.
var screens = map[string]string{"vga": "", "cirrus": "COMPUTE_GRAPHICS_MODEL_CIRRUS", "bochs": "COMPUTE_GRAPHICS_MODEL_BOCHS", "virtio": "COMPUTE_GRAPHICS_MODEL_VIRTIO",
	"none": "COMPUTE_GRAPHICS_MODEL_NONE"}

// image reads what only images say.
func (h *hardware) image() {
	p, m := h.props, &h.Machine
	m.DiskBus = h.choice("hw_disk_bus", p["hw_disk_bus"], "virtio", "scsi", "ide", "sata")
	m.CDROMBus = h.choice("hw_cdrom_bus", p["hw_cdrom_bus"], "ide", "sata", "scsi")
	m.VIFModel = h.choice("hw_vif_model", p["hw_vif_model"], "virtio", "e1000", "e1000e", "rtl8139")
	m.Firmware = h.choice("hw_firmware_type", p["hw_firmware_type"], "bios", "uefi")
	h.choice("hw_scsi_model", p["hw_scsi_model"], "virtio-scsi")
	h.choice("hw_rng_model", p["hw_rng_model"], "virtio")
	m.GuestAgent, m.CmdlineExtra, m.ShutdownTime = YesWord(p["hw_qemu_guest_agent"]), p["os_command_line"], shutdownTime(p["os_shutdown_timeout"])
	m.LocalTime = p["os_type"] == "windows"
	if t := p["hw_machine_type"]; machineForm.MatchString(t) {
		m.Type = t
	} else if t != "" {
		h.fail("hw_machine_type", "hw_machine_type=%s is asked for, which no host of this cloud can do: guests have a machine of type pc, or of one of its versions, pc-i440fx-N.N.", t)
	}
	if on, said := h.truth("hw_time_hpet", p["hw_time_hpet"]); said {
		m.HPET = onOff(on)
	}
	if model := p["hw_video_model"]; model != "" {
		trait, known := screens[model]
		if !known {
			h.fail("hw_video_model", "hw_video_model=%s is none of bochs, cirrus, none, vga, virtio.", model)
		}
		if known {
			m.Video = model
		}
		if trait != "" {
			h.need(trait)
		}
	}
	tablet := h.choice("hw_pointer_model", p["hw_pointer_model"], "usbtablet", "ps2mouse") == "usbtablet"
	m.Tablet = h.choice("hw_input_bus", p["hw_input_bus"], "usb", "ps2") == "usb" || tablet
	if text := p["hw_video_ram"]; text != "" {
		spec := "hw_video:ram_max_mb"
		n, most := h.number("hw_video_ram", text, 0, 256), h.number(spec, h.flavor.ExtraSpecs[spec], 0, 1<<20)
		switch {
		case n > most:
			h.fail("hw_video_ram", "The image's hw_video_ram=%d is beyond the flavor's hw_video:ram_max_mb=%d.", n, most)
		case m.Video == "" || m.Video == "vga" || m.Video == "bochs":
			m.VideoMiB = int(n)
		}
	}
}

// devices reads what both may say.
func (h *hardware) devices() {
	m := &h.Machine
	key, action := "hw_watchdog_action", h.props["hw_watchdog_action"] // the image's word before the flavor's (Nova)
	if action == "" {
		key, action = "hw:watchdog_action", h.flavor.ExtraSpecs["hw:watchdog_action"]
	}
	if m.Watchdog = h.choice(key, action, "disabled", "none", "pause", "poweroff", "reset"); m.Watchdog == "disabled" {
		m.Watchdog = ""
	}
	key, menu := h.either("hw:boot_menu", "hw_boot_menu")
	m.BootMenu, _ = h.truth(key, menu)
	if m.PackedRing, _ = h.same("hw:virtio_packed_ring", "hw_virtio_packed_ring"); m.PackedRing {
		h.need("COMPUTE_NET_VIRTIO_PACKED")
	}
	f := h.flavor.ExtraSpecs
	if allowed, said := h.truth("hw_rng:allowed", f["hw_rng:allowed"]); said && !allowed {
		m.NoRNG = true
	}
	m.RNGBytes = int(h.number("hw_rng:rate_bytes", f["hw_rng:rate_bytes"], 0, 1<<30))
	m.RNGPeriod = int(h.number("hw_rng:rate_period", f["hw_rng:rate_period"], 0, 1<<30))
	if m.RNGBytes == 0 {
		m.RNGPeriod = 0
	}
}

// processor reads what the guest finds in its processors' registers.
func (h *hardware) processor() {
	m := &h.Machine
	if on, said := h.same("hw:pmu", "hw_pmu"); said {
		if m.PMU = onOff(on); on {
			h.need(hostapi.TraitPMU)
		}
	}
	spec := "hw:hide_hypervisor_id"
	if h.flavor.ExtraSpecs[spec] == "" {
		spec = "hide_hypervisor_id" // its name before 2.86
	}
	m.HideHypervisor, _ = h.same(spec, "img_hide_hypervisor_id")
}

// limits reads the quota: scope. 0 is no limit, as for libvirt.
func (h *hardware) limits() {
	const most = 1 << 50
	of := func(name string) int64 { return h.number("quota:"+name, h.flavor.ExtraSpecs["quota:"+name], 0, most) }
	d := &h.Limits.Disk
	*d = hostapi.DiskLimits{ReadBytes: of("disk_read_bytes_sec"), WriteBytes: of("disk_write_bytes_sec"), TotalBytes: of("disk_total_bytes_sec"),
		ReadOps: of("disk_read_iops_sec"), WriteOps: of("disk_write_iops_sec"), TotalOps: of("disk_total_iops_sec")}
	if d.TotalBytes > 0 && (d.ReadBytes > 0 || d.WriteBytes > 0) {
		h.fail("quota:disk_total_bytes_sec", "quota:disk_total_bytes_sec cannot be combined with quota:disk_read_bytes_sec or quota:disk_write_bytes_sec.")
		d.TotalBytes = 0
	}
	if d.TotalOps > 0 && (d.ReadOps > 0 || d.WriteOps > 0) {
		h.fail("quota:disk_total_iops_sec", "quota:disk_total_iops_sec cannot be combined with quota:disk_read_iops_sec or quota:disk_write_iops_sec.")
		d.TotalOps = 0
	}
	h.time()
	for _, way := range []struct {
		name string
		to   *hostapi.Bandwidth
	}{{"vif_inbound", &h.Limits.In}, {"vif_outbound", &h.Limits.Out}} {
		in := func(name string) int64 { // below 4 GiB
			return h.number("quota:"+way.name+name, h.flavor.ExtraSpecs["quota:"+way.name+name], 0, 1<<22-1)
		}
		*way.to = hostapi.Bandwidth{Average: in("_average"), Peak: in("_peak"), Burst: in("_burst")}
		if b := way.to; b.Average == 0 && (b.Peak > 0 || b.Burst > 0) {
			h.fail("quota:"+way.name+"_average", "quota:%s_peak and quota:%[1]s_burst need quota:%[1]s_average.", way.name)
			*b = hostapi.Bandwidth{}
		} else if b.Peak > 0 && b.Peak < b.Average {
			h.fail("quota:"+way.name+"_peak", "quota:%s_peak=%d is less than the average, %d.", way.name, b.Peak, b.Average)
			b.Peak = 0
		}
	}
}

// time reads the limits of the processors. The bounds are those of the kernel's scheduler: it takes no period outside 1 ms to 1 s and no quota below 1 ms.
func (h *hardware) time() {
	bounded := func(name string, least, most int64) int64 {
		if text := h.flavor.ExtraSpecs["quota:"+name]; text != "0" {
			return h.number("quota:"+name, text, least, most)
		}
		return 0
	}
	c := &h.Limits.CPU
	*c = hostapi.CPULimits{Shares: bounded("cpu_shares", 2, 262144), Quota: bounded("cpu_quota", 1000, 1<<40), Period: bounded("cpu_period", 1000, 1000000)}
	if c.Quota == 0 {
		c.Period = 0 // nothing is counted in it
	}
	if *c != (hostapi.CPULimits{}) {
		h.need(hostapi.TraitCPULimits)
	}
}

func onOff(b bool) string {
	if b {
		return "on"
	}
	return "off"
}

// shutdownTime reads the image property os_shutdown_timeout, in seconds. What is no number is 0, as if it were not there.
func shutdownTime(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > maxShutdownTime {
		return 0
	}
	return n
}

// maxShutdownTime keeps an image from making a stop outlast its workflow.
const maxShutdownTime = 120

// fits says whether hosts here can do what flavor and image ask for: fault.KindInvalid names the key.
func (f Flavor) fits(props map[string]string) error {
	if _, err := f.Layout(props); err != nil {
		return err
	}
	_, err := f.Hardware(props)
	return err
}
