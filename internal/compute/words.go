package compute

import (
	"regexp"
	"strings"
)

// Bearing is what becomes of an extra spec or an image property.
type Bearing string

// Nothing that is accepted has no effect, but for what has none under Nova with QEMU either.
const (
	Effect  Bearing = "effect"     // the guest, or what it may use, is as it says
	Chooses Bearing = "scheduling" // it chooses the host
	Refused Bearing = "refused"    // a server that asks for it is refused with 400, which names the key
	Ignored Bearing = "ignored"    // Nova's libvirt driver passes over it, or it is information for people
)

// Word is the decision about one key.
type Word struct {
	Bearing Bearing
	Why     string // what it does, or why not
	Sample  string // a value that has the effect, or is refused

	harmless  []string // values of a refused key that ask for nothing, in lower case
	elsewhere bool     // what it does, or its refusal, is Layout's (layout.go), Placement's (needs.go) or another room's business, not Hardware's
}

// no are the values of a boolean that is refused when it is true.
var no = []string{"", "0", "f", "false", "off", "n", "no"}

// Words is the decision about every extra spec that Nova's check of 2.86 knows (compute/api holds them against it) and about the image properties that Nova's image
// metadata object has. Keys with a number have N in its place; those of a granular group stand for all groups. What is not here is free text and ignored. docs/extra-specs.md
// shows it, which a test writes.
var Words = map[string]Word{
	// Processors and memory: layout.go.
	"hw:cpu_policy":              {Effect, "dedicated: a processor of the host for each; shared; mixed is refused", "dedicated", nil, true},
	"hw_cpu_policy":              {Effect, "as hw:cpu_policy", "dedicated", nil, true},
	"hw:cpu_thread_policy":       {Chooses, "require or isolate: a host with or without HW_CPU_HYPERTHREADING; for dedicated processors only", "", nil, true},
	"hw_cpu_thread_policy":       {Chooses, "as hw:cpu_thread_policy", "", nil, true},
	"hw:emulator_threads_policy": {Refused, "QEMU's own threads run where its guest's do; share says so", "isolate", nil, true},
	"hw_emulator_threads_policy": {Refused, "as hw:emulator_threads_policy", "isolate", nil, true},
	"hw:cpu_dedicated_mask":      {Refused, "all processors of a server are dedicated, or none", "0-1", nil, true},
	"hw:cpu_realtime":            {Refused, "guests do not run in real time", "yes", nil, true},
	"hw_cpu_realtime":            {Refused, "guests do not run in real time", "yes", nil, true},
	"hw:cpu_realtime_mask":       {Refused, "guests do not run in real time", "^0", nil, true},
	"hw_cpu_realtime_mask":       {Refused, "guests do not run in real time", "^0", nil, true},
	"hw:cpu_sockets":             {Effect, "the processors as the guest sees them", "2", nil, true},
	"hw:cpu_cores":               {Effect, "the processors as the guest sees them", "2", nil, true},
	"hw:cpu_threads":             {Effect, "the processors as the guest sees them", "2", nil, true},
	"hw:cpu_max_sockets":         {Effect, "bounds the shape of the processors", "1", nil, true},
	"hw:cpu_max_cores":           {Effect, "bounds the shape of the processors", "1", nil, true},
	"hw:cpu_max_threads":         {Effect, "bounds the shape of the processors", "1", nil, true},
	"hw_cpu_sockets":             {Effect, "the processors as the guest sees them", "2", nil, true},
	"hw_cpu_cores":               {Effect, "the processors as the guest sees them", "2", nil, true},
	"hw_cpu_threads":             {Effect, "the processors as the guest sees them", "2", nil, true},
	"hw_cpu_max_sockets":         {Effect, "bounds the shape of the processors", "1", nil, true},
	"hw_cpu_max_cores":           {Effect, "bounds the shape of the processors", "1", nil, true},
	"hw_cpu_max_threads":         {Effect, "bounds the shape of the processors", "1", nil, true},
	"hw:numa_nodes":              {Effect, "NUMA nodes of the guest, each on one of the host's", "2", nil, true},
	"hw:numa_cpus.N":             {Effect, "the processors of NUMA node N", "0-1", nil, true},
	"hw:numa_mem.N":              {Effect, "the MiB of NUMA node N", "512", nil, true},
	"hw_numa_nodes":              {Effect, "as hw:numa_nodes", "2", nil, true},
	"hw_numa_cpus.N":             {Effect, "as hw:numa_cpus.N", "0-1", nil, true},
	"hw_numa_mem.N":              {Effect, "as hw:numa_mem.N", "512", nil, true},
	"hw:mem_page_size":           {Effect, "memory of huge pages, on a host that has them", "2MB", nil, true},
	"hw_mem_page_size":           {Effect, "as hw:mem_page_size, where that is large or any", "2MB", nil, true},
	"hw:locked_memory":           {Refused, "memory is not locked; huge pages (hw:mem_page_size) never leave it", "yes", no, false},
	"hw_locked_memory":           {Refused, "memory is not locked; huge pages (hw:mem_page_size) never leave it", "yes", no, false},
	"hw:mem_encryption":          {Refused, "memory is not encrypted", "yes", no, false},
	"hw_mem_encryption":          {Refused, "memory is not encrypted", "yes", no, false},
	"hw_mem_encryption_model":    {Refused, "memory is not encrypted", "amd-sev", nil, false},
	"hw:pmem":                    {Refused, "there is no persistent memory", "4GB", nil, false},
	"hw:maxphysaddr_mode":        {Refused, "addresses are as wide as the accelerator makes them", "emulate", nil, false},
	"hw:maxphysaddr_bits":        {Refused, "addresses are as wide as the accelerator makes them", "42", nil, false},
	"hw_maxphysaddr_mode":        {Refused, "addresses are as wide as the accelerator makes them", "emulate", nil, false},
	"hw_maxphysaddr_bits":        {Refused, "addresses are as wide as the accelerator makes them", "42", nil, false},
	"hw:pmu":                     {Effect, "performance counters; yes needs a host with KVM", "no", nil, false},
	"hw_pmu":                     {Effect, "as hw:pmu; both must agree", "no", nil, false},
	"hw:hide_hypervisor_id":      {Effect, "the processor does not name its hypervisor", "yes", nil, false},
	"hide_hypervisor_id":         {Effect, "the old name of hw:hide_hypervisor_id", "yes", nil, false},
	"img_hide_hypervisor_id":     {Effect, "as hw:hide_hypervisor_id; both must agree", "yes", nil, false},

	// Devices.
	"hw:watchdog_action":          {Effect, "an i6300esb watchdog, and what happens when it is not fed: none, pause, poweroff, reset; disabled: no watchdog", "reset", nil, false},
	"hw_watchdog_action":          {Effect, "as hw:watchdog_action, and goes before it", "reset", nil, false},
	"hw:boot_menu":                {Effect, "the BIOS offers its boot menu", "yes", nil, false},
	"hw_boot_menu":                {Effect, "as hw:boot_menu, which goes before it", "yes", nil, false},
	"hw:serial_port_count":        {Refused, "guests have one serial port, whose output is the console log; 1 says so", "2", []string{"", "1"}, false},
	"hw_serial_port_count":        {Refused, "guests have one serial port, whose output is the console log; 1 says so", "2", []string{"", "1"}, false},
	"hw:vif_multiqueue_enabled":   {Refused, "interfaces have one queue", "yes", no, false},
	"hw_vif_multiqueue_enabled":   {Ignored, "interfaces have one queue: a wish for speed that many public images carry", "yes", nil, false},
	"hw:virtio_packed_ring":       {Effect, "virtio interfaces offer packed rings", "yes", nil, false},
	"hw_virtio_packed_ring":       {Effect, "as hw:virtio_packed_ring; both must agree", "yes", nil, false},
	"hw_rng:allowed":              {Effect, "no: no virtio source of random numbers (every guest has one otherwise)", "no", nil, false},
	"hw_rng:rate_bytes":           {Effect, "random bytes per period", "1024", nil, false},
	"hw_rng:rate_period":          {Effect, "that period in milliseconds, 1000 if not given; means nothing without rate_bytes", "", nil, false},
	"hw_rng_model":                {Effect, "virtio, which every guest has; others are refused", "virtio", nil, true},
	"hw_video:ram_max_mb":         {Effect, "the most that hw_video_ram may ask for", "", nil, false},
	"hw_video_ram":                {Effect, "MiB of the screen's memory (vga and bochs), up to hw_video:ram_max_mb", "", nil, false},
	"hw_video_model":              {Effect, "vga, cirrus, bochs, virtio or none; others are refused", "cirrus", nil, false},
	"hw_disk_bus":                 {Effect, "virtio, scsi, ide or sata; others are refused", "scsi", nil, false},
	"hw_cdrom_bus":                {Effect, "of the config drive: ide, sata or scsi; others are refused", "sata", nil, false},
	"hw_scsi_model":               {Effect, "virtio-scsi, which is the only one; others are refused", "virtio-scsi", nil, true},
	"hw_vif_model":                {Effect, "virtio, e1000, e1000e or rtl8139; others are refused", "e1000", nil, false},
	"hw_pointer_model":            {Effect, "usbtablet: a USB tablet beside the PS/2 mouse; ps2mouse", "usbtablet", nil, false},
	"hw_input_bus":                {Effect, "usb: a USB tablet beside the PS/2 mouse; others are refused", "usb", nil, false},
	"hw_machine_type":             {Effect, "pc or pc-i440fx-N.N; others (q35) are refused", "pc-i440fx-7.0", nil, false},
	"hw_firmware_type":            {Effect, "bios, or uefi where the host has it", "uefi", nil, false},
	"hw_firmware_stateless":       {Refused, "the variables of UEFI are kept", "yes", no, false},
	"hw_time_hpet":                {Effect, "with or without the HPET", "no", nil, false},
	"hw_qemu_guest_agent":         {Effect, "a channel to the QEMU guest agent", "yes", nil, false},
	"hw_rescue_bus":               {Effect, "of the disk of a rescued server", "scsi", nil, true},
	"hw_rescue_device":            {Effect, "makes the image one to rescue with; disk", "disk", nil, true},
	"hw:tpm_model":                {Refused, "there is no TPM", "tpm-crb", nil, false},
	"hw:tpm_version":              {Refused, "there is no TPM", "2.0", nil, false},
	"hw_tpm_model":                {Refused, "there is no TPM", "tpm-crb", nil, false},
	"hw_tpm_version":              {Refused, "there is no TPM", "2.0", nil, false},
	"hw:viommu_model":             {Refused, "guests have no IOMMU", "virtio", nil, false},
	"hw_viommu_model":             {Refused, "guests have no IOMMU", "virtio", nil, false},
	"hw_sound_model":              {Refused, "guests have no sound", "ich9", nil, false},
	"os:secure_boot":              {Refused, "guests boot without checks of signatures; disabled and optional say so", "required", []string{"", "disabled", "optional"}, false},
	"os_secure_boot":              {Refused, "guests boot without checks of signatures; disabled and optional say so", "required", []string{"", "disabled", "optional"}, false},
	"accel:device_profile":        {Refused, "there is no service for accelerators", "gpu", nil, false},
	"pci_passthrough:alias":       {Chooses, "a host whose agent tells of such devices; none does for QEMU", "gpu:1", nil, true},
	"hw:pci_numa_affinity_policy": {Refused, "devices are not handed to guests; legacy and preferred ask for nothing certain", "required", []string{"", "legacy", "preferred"}, false},
	"hw_pci_numa_affinity_policy": {Refused, "devices are not handed to guests; legacy and preferred ask for nothing certain", "required", []string{"", "legacy", "preferred"}, false},

	"hw:ephemeral_encryption":             {Refused, "local disks are not encrypted", "yes", no, false},
	"hw:ephemeral_encryption_format":      {Ignored, "means nothing without hw:ephemeral_encryption", "luks", nil, false},
	"hw_ephemeral_encryption":             {Refused, "local disks are not encrypted", "yes", no, false},
	"hw_ephemeral_encryption_format":      {Ignored, "means nothing without hw_ephemeral_encryption", "luks", nil, false},
	"hw_ephemeral_encryption_secret_uuid": {Ignored, "means nothing without hw_ephemeral_encryption", "", nil, false},

	// What a guest may use.
	"quota:disk_read_bytes_sec":  {Effect, "of each local disk, by QEMU; volumes have the QoS of their type (Nova)", "1048576", nil, false},
	"quota:disk_write_bytes_sec": {Effect, "as quota:disk_read_bytes_sec", "1048576", nil, false},
	"quota:disk_total_bytes_sec": {Effect, "both together, instead of the two", "1048576", nil, false},
	"quota:disk_read_iops_sec":   {Effect, "of each local disk, by QEMU", "100", nil, false},
	"quota:disk_write_iops_sec":  {Effect, "of each local disk, by QEMU", "100", nil, false},
	"quota:disk_total_iops_sec":  {Effect, "both together, instead of the two", "100", nil, false},
	"quota:cpu_shares":           {Effect, "weight of the guest's control group when processors are short, 2 to 262144; 1024 is one busy thread's", "512", nil, false},
	"quota:cpu_quota":            {Effect, "microseconds that each VCPU may run in a period, by the guest's control group; 1000 or more", "50000", nil, false},
	"quota:cpu_period":           {Effect, "that period in microseconds, 1000 to 1000000; 100000 if not given; means nothing without cpu_quota", "", nil, false},
	"quota:vif_inbound_average":  {Effect, "KiB a second towards the guest, of each interface; what is beyond is dropped", "1024", nil, false},
	"quota:vif_inbound_peak":     {Effect, "KiB a second that the burst cannot go beyond either", "", nil, false},
	"quota:vif_inbound_burst":    {Effect, "KiB that may come at once beyond what the average brings in a second; 64 at least", "", nil, false},
	"quota:vif_outbound_average": {Effect, "KiB a second from the guest", "1024", nil, false},
	"quota:vif_outbound_peak":    {Effect, "as quota:vif_inbound_peak", "", nil, false},
	"quota:vif_outbound_burst":   {Effect, "as quota:vif_inbound_burst", "", nil, false},

	// VMware's: Nova's libvirt driver passes over them, and so it is here.
	"quota:cpu_limit": vmware, "quota:cpu_reservation": vmware, "quota:cpu_shares_level": vmware, "quota:cpu_shares_share": vmware,
	"quota:memory_limit": vmware, "quota:memory_reservation": vmware, "quota:memory_shares_level": vmware, "quota:memory_shares_share": vmware,
	"quota:disk_io_limit": vmware, "quota:disk_io_reservation": vmware, "quota:disk_io_shares_level": vmware, "quota:disk_io_shares_share": vmware,
	"quota:vif_limit": vmware, "quota:vif_reservation": vmware, "quota:vif_shares_level": vmware, "quota:vif_shares_share": vmware,
	"hw_disk_type": vmware, "hw_vmware_ostype": vmware, "img_linked_clone": vmware, "vmware_ostype": vmware, "vmware_disktype": vmware, "vmware_adaptertype": vmware,

	// The choice of a host.
	"resources:CLASS":          {Chooses, "so much of the class, of a host's tree; also resourcesN: and resources_GROUP:", "1", nil, true},
	"trait:NAME":               {Chooses, "required or forbidden of a host's tree; also traitN: and trait_GROUP:, and in images as required", "required", nil, true},
	"group_policy":             {Chooses, "isolate: each numbered group from another provider", "isolate", nil, true},
	"architecture":             {Chooses, "of the host (ImagePropertiesFilter)", "x86_64", nil, true},
	"hw_architecture":          {Chooses, "as architecture", "x86_64", nil, true},
	"hypervisor_type":          {Chooses, "qemu or kvm (ImagePropertiesFilter)", "qemu", nil, true},
	"img_hv_type":              {Chooses, "as hypervisor_type", "qemu", nil, true},
	"vm_mode":                  {Chooses, "hvm (ImagePropertiesFilter)", "hvm", nil, true},
	"hw_vm_mode":               {Chooses, "as vm_mode", "hvm", nil, true},
	"img_hv_requested_version": {Ignored, "versions of Xen and Hyper-V", ">=6.0", nil, false},

	// Other rooms'.
	"img_config_drive":     {Effect, "mandatory: a config drive whatever the request says", "mandatory", nil, true},
	"os_command_line":      {Effect, "of a kernel image", "quiet", nil, false},
	"os_shutdown_timeout":  {Effect, "seconds that the guest has to shut down, up to 120", "30", nil, false},
	"os_require_quiesce":   {Effect, "an image of the running server is refused when its agent cannot freeze the file systems", "yes", nil, true},
	"os_type":              {Effect, "windows: the clock shows local time; others are information", "windows", nil, false},
	"block_device_mapping": {Effect, "the devices of a server made from the image", "", nil, true},
	"bdm_v2":               {Ignored, "the form of block_device_mapping, which is read in either", "true", nil, false},
	"img_signature":        {Effect, "checked when the image's bytes come (with its three companions)", "", nil, true},
	"kernel_id":            {Effect, "the guest boots this kernel", "", nil, true},
	"ramdisk_id":           {Effect, "with this ramdisk", "", nil, true},
	"os_distro":            {Ignored, "information", "debian", nil, false},
	"os_version":           {Ignored, "information", "12", nil, false},
	"os_admin_user":        {Ignored, "information: passwords are set for root", "admin", nil, false},
	"auto_disk_config":     {Ignored, "Xen's", "true", nil, false},
	"hw_auto_disk_config":  {Ignored, "Xen's", "true", nil, false},
}

var vmware = Word{Bearing: Ignored, Why: "VMware's; Nova's libvirt driver passes over it", Sample: "1"}

var (
	numberedKey = regexp.MustCompile(`^(hw[:_]numa_(?:cpus|mem))\.\d+$`)
	granularKey = regexp.MustCompile(`^(resources|trait)(?:\d+|_[a-zA-Z0-9_-]+)?:`)
)

// WordOf is the decision about a key as flavors and images have it; false for one that is free.
func WordOf(key string) (Word, bool) {
	if m := numberedKey.FindStringSubmatch(key); m != nil {
		key = m[1] + ".N"
	} else if m := granularKey.FindStringSubmatch(key); m != nil {
		key = map[string]string{"resources": "resources:CLASS", "trait": "trait:NAME"}[m[1]]
	}
	w, ok := Words[key]
	return w, ok
}

// IsProperty says whether a key of Words is an image's, not a flavor's.
func IsProperty(key string) bool {
	return !strings.Contains(key, ":") && key != "group_policy" && key != "hide_hypervisor_id"
}
