package placement

import (
	"context"
	"regexp"
	"slices"

	"nephos/internal/db"
	"nephos/internal/fault"
)

// StandardClasses are the resource classes that OpenStack defines (os-resource-classes), sorted.
var StandardClasses = []string{"DISK_GB", "FPGA", "IPV4_ADDRESS", "MEMORY_MB", "MEM_ENCRYPTION_CONTEXT", "NET_BW_EGR_KILOBIT_PER_SEC", "NET_BW_IGR_KILOBIT_PER_SEC",
	"NET_PACKET_RATE_EGR_KILOPACKET_PER_SEC", "NET_PACKET_RATE_IGR_KILOPACKET_PER_SEC", "NET_PACKET_RATE_KILOPACKET_PER_SEC", "NUMA_CORE", "NUMA_MEMORY_MB", "NUMA_SOCKET",
	"NUMA_THREAD", "PCI_DEVICE", "PCPU", "PGPU", "SRIOV_NET_VF", "VCPU", "VGPU", "VGPU_DISPLAY_HEAD"}

// StandardTraits are those names of os-traits that can be true of an x86 or arm64 host with QEMU, sorted.
var StandardTraits = []string{
	"COMPUTE_ACCELERATORS", "COMPUTE_ADDRESS_SPACE_EMULATED", "COMPUTE_ADDRESS_SPACE_PASSTHROUGH", "COMPUTE_CONFIG_DRIVE_REGENERATION", "COMPUTE_DEVICE_TAGGING",
	"COMPUTE_EPHEMERAL_ENCRYPTION", "COMPUTE_EPHEMERAL_ENCRYPTION_LUKS", "COMPUTE_FIRMWARE_BIOS", "COMPUTE_FIRMWARE_UEFI", "COMPUTE_GRAPHICS_MODEL_BOCHS",
	"COMPUTE_GRAPHICS_MODEL_CIRRUS", "COMPUTE_GRAPHICS_MODEL_NONE", "COMPUTE_GRAPHICS_MODEL_QXL", "COMPUTE_GRAPHICS_MODEL_VGA", "COMPUTE_GRAPHICS_MODEL_VIRTIO",
	"COMPUTE_IMAGE_TYPE_AKI", "COMPUTE_IMAGE_TYPE_AMI", "COMPUTE_IMAGE_TYPE_ARI", "COMPUTE_IMAGE_TYPE_ISO", "COMPUTE_IMAGE_TYPE_PLOOP", "COMPUTE_IMAGE_TYPE_QCOW2",
	"COMPUTE_IMAGE_TYPE_RAW", "COMPUTE_IMAGE_TYPE_VDI", "COMPUTE_IMAGE_TYPE_VHD", "COMPUTE_IMAGE_TYPE_VHDX", "COMPUTE_IMAGE_TYPE_VMDK", "COMPUTE_MANAGED_PCI_DEVICE",
	"COMPUTE_MIGRATE_AUTO_CONVERGE", "COMPUTE_MIGRATE_POST_COPY", "COMPUTE_NET_ATTACH_INTERFACE", "COMPUTE_NET_ATTACH_INTERFACE_WITH_TAG", "COMPUTE_NET_VIF_MODEL_E1000",
	"COMPUTE_NET_VIF_MODEL_E1000E", "COMPUTE_NET_VIF_MODEL_NE2K_PCI", "COMPUTE_NET_VIF_MODEL_PCNET", "COMPUTE_NET_VIF_MODEL_RTL8139", "COMPUTE_NET_VIF_MODEL_VIRTIO",
	"COMPUTE_NET_VIF_MODEL_VMXNET3", "COMPUTE_NET_VIRTIO_PACKED", "COMPUTE_NODE", "COMPUTE_REMOTE_MANAGED_PORTS", "COMPUTE_RESCUE_BFV", "COMPUTE_SAME_HOST_COLD_MIGRATE",
	"COMPUTE_SECURITY_STATELESS_FIRMWARE", "COMPUTE_SECURITY_TPM_1_2", "COMPUTE_SECURITY_TPM_2_0", "COMPUTE_SECURITY_UEFI_SECURE_BOOT", "COMPUTE_SOCKET_PCI_NUMA_AFFINITY",
	"COMPUTE_STATUS_DISABLED", "COMPUTE_STORAGE_BUS_FDC", "COMPUTE_STORAGE_BUS_IDE", "COMPUTE_STORAGE_BUS_SATA", "COMPUTE_STORAGE_BUS_SCSI", "COMPUTE_STORAGE_BUS_USB",
	"COMPUTE_STORAGE_BUS_VIRTIO", "COMPUTE_STORAGE_VIRTIO_FS", "COMPUTE_TRUSTED_CERTS", "COMPUTE_VIOMMU_MODEL_AUTO", "COMPUTE_VIOMMU_MODEL_INTEL", "COMPUTE_VIOMMU_MODEL_VIRTIO",
	"COMPUTE_VOLUME_ATTACH", "COMPUTE_VOLUME_ATTACH_WITH_TAG", "COMPUTE_VOLUME_EXTEND", "COMPUTE_VOLUME_MULTI_ATTACH",
	"HW_ARCH_AARCH64", "HW_ARCH_X86_64", "HW_CPU_AARCH64_AES", "HW_CPU_AARCH64_SVE", "HW_CPU_HYPERTHREADING",
	"HW_CPU_X86_3DNOW", "HW_CPU_X86_ABM", "HW_CPU_X86_AESNI", "HW_CPU_X86_AMD_SEV", "HW_CPU_X86_AMD_SEV_ES", "HW_CPU_X86_AMD_SVM", "HW_CPU_X86_AVX", "HW_CPU_X86_AVX2",
	"HW_CPU_X86_AVX512BW", "HW_CPU_X86_AVX512CD", "HW_CPU_X86_AVX512DQ", "HW_CPU_X86_AVX512F", "HW_CPU_X86_AVX512VL", "HW_CPU_X86_AVX512VNNI", "HW_CPU_X86_BMI", "HW_CPU_X86_BMI2",
	"HW_CPU_X86_CLMUL", "HW_CPU_X86_F16C", "HW_CPU_X86_FMA3", "HW_CPU_X86_INTEL_VMX", "HW_CPU_X86_MMX", "HW_CPU_X86_PDPE1GB", "HW_CPU_X86_SGX", "HW_CPU_X86_SHA", "HW_CPU_X86_SSE",
	"HW_CPU_X86_SSE2", "HW_CPU_X86_SSE3", "HW_CPU_X86_SSE41", "HW_CPU_X86_SSE42", "HW_CPU_X86_SSE4A", "HW_CPU_X86_SSSE3", "HW_CPU_X86_STIBP", "HW_CPU_X86_SVM", "HW_CPU_X86_TSX",
	"HW_CPU_X86_VMX", "HW_NUMA_ROOT", "MISC_SHARES_VIA_AGGREGATE", "OWNER_CYBORG", "OWNER_NOVA", "STORAGE_DISK_HDD", "STORAGE_DISK_SSD",
}

var customName = regexp.MustCompile(`^CUSTOM_[A-Z0-9_]+$`)

// IsCustomName says whether a trait or class may be made under that name: CUSTOM_ and upper case letters, digits and underscores, 255 at most.
func IsCustomName(name string) bool { return len(name) <= 255 && customName.MatchString(name) }

// Vocabulary is the names of traits or of resource classes: the standard ones and the custom ones of a table. table and uses are constants of this file.
type Vocabulary struct {
	kind, table, uses, column string
	standard                  []string
}

var (
	// Traits are what a provider can be like.
	Traits = Vocabulary{kind: "trait", table: "custom_traits", uses: "provider_traits", column: "trait", standard: StandardTraits}
	// Classes are what a provider can have.
	Classes = Vocabulary{kind: "resource class", table: "custom_classes", uses: "inventories", column: "class", standard: StandardClasses}
)

// All lists the standard names and then the custom ones, each sorted.
func (v Vocabulary) All(ctx context.Context, tx *db.Tx) ([]string, error) {
	var custom []string
	err := tx.Select(ctx, &custom, `SELECT name FROM `+v.table+` ORDER BY name`)
	return slices.Concat(v.standard, custom), err
}

// InUse lists the names that some provider has, sorted.
func (v Vocabulary) InUse(ctx context.Context, tx *db.Tx) ([]string, error) {
	var out []string
	return out, tx.Select(ctx, &out, `SELECT DISTINCT `+v.column+` FROM `+v.uses+` ORDER BY `+v.column)
}

// Unknown lists those of list that do not exist.
func (v Vocabulary) Unknown(ctx context.Context, tx *db.Tx, list []string) ([]string, error) {
	var custom, out []string
	for _, n := range list {
		if _, ok := slices.BinarySearch(v.standard, n); !ok {
			custom = append(custom, n)
		}
	}
	if len(custom) == 0 {
		return nil, nil
	}
	var have []string
	if err := tx.Select(ctx, &have, `SELECT name FROM `+v.table+` WHERE name IN (?)`, custom); err != nil {
		return nil, err
	}
	for _, n := range custom {
		if !slices.Contains(have, n) {
			out = append(out, n)
		}
	}
	return out, nil
}

// Create adds a custom name; made is false when it exists already.
func (v Vocabulary) Create(ctx context.Context, tx *db.Tx, name string) (made bool, err error) {
	if !IsCustomName(name) {
		return false, fault.Invalid("name", "The %s %q is not of the form CUSTOM_ and then letters A to Z, digits and underscores.", v.kind, name)
	}
	n, err := tx.Exec(ctx, `INSERT INTO `+v.table+` (name) VALUES (?) ON CONFLICT (name) DO NOTHING`, name)
	return n > 0, err
}

// Delete removes a custom name that nothing uses.
func (v Vocabulary) Delete(ctx context.Context, tx *db.Tx, name string) error {
	if slices.Contains(v.standard, name) {
		return fault.Invalid("name", "Cannot delete standard %s %s.", v.kind, name)
	}
	if err := v.unused(ctx, tx, name); err != nil {
		return err
	}
	n, err := tx.Exec(ctx, `DELETE FROM `+v.table+` WHERE name = ?`, name)
	if err == nil && n == 0 {
		return fault.NotFound("No such %s %s.", v.kind, name)
	}
	return err
}

// Rename changes the name of an unused custom class (before microversion 1.7 that was what PUT did).
func (v Vocabulary) Rename(ctx context.Context, tx *db.Tx, from, to string) error {
	if slices.Contains(v.standard, from) {
		return fault.Invalid("name", "Cannot update standard %s %s.", v.kind, from)
	}
	if err := v.unused(ctx, tx, from); err != nil {
		return err
	}
	n, err := tx.Exec(ctx, `UPDATE `+v.table+` SET name = ? WHERE name = ?`, to, from)
	if db.IsUnique(err) {
		return fault.Conflict("The %s %s exists already.", v.kind, to)
	}
	if err == nil && n == 0 {
		return fault.NotFound("No such %s %s.", v.kind, from)
	}
	return err
}

// unused takes the lock that users of custom names take (use), so that a name cannot go while it comes into use.
func (v Vocabulary) unused(ctx context.Context, tx *db.Tx, name string) error {
	if err := v.use(ctx, tx); err != nil {
		return err
	}
	var n int
	if err := tx.Get(ctx, &n, `SELECT COUNT(*) FROM `+v.uses+` WHERE `+v.column+` = ?`, name); err != nil {
		return err
	}
	if n > 0 {
		return fault.Conflict("The %s %s is in use by %d resource providers.", v.kind, name, n)
	}
	return nil
}

func (v Vocabulary) use(ctx context.Context, tx *db.Tx) error {
	return tx.Lock(ctx, "placement-names:"+v.table)
}

// Require refuses names that do not exist, and keeps those that do until the transaction ends.
func (v Vocabulary) Require(ctx context.Context, tx *db.Tx, list []string) error {
	if err := v.use(ctx, tx); err != nil {
		return err
	}
	missing, err := v.Unknown(ctx, tx, list)
	if err == nil && len(missing) > 0 {
		return fault.Invalid(v.column, "No such %s %s.", v.kind, missing[0])
	}
	return err
}

// TraitsOf lists a provider's traits.
func TraitsOf(ctx context.Context, tx *db.Tx, providerID string) ([]string, error) {
	out := []string{}
	return out, tx.Select(ctx, &out, `SELECT trait FROM provider_traits WHERE provider_id = ? ORDER BY trait`, providerID)
}

// TraitsByProvider lists the traits of all providers that have some, for the scheduler's snapshot.
func TraitsByProvider(ctx context.Context, tx *db.Tx) (map[string][]string, error) {
	var rows []struct {
		Provider string `db:"provider_id"`
		Trait    string `db:"trait"`
	}
	if err := tx.Select(ctx, &rows, `SELECT provider_id, trait FROM provider_traits ORDER BY provider_id, trait`); err != nil {
		return nil, err
	}
	out := map[string][]string{}
	for _, r := range rows {
		out[r.Provider] = append(out[r.Provider], r.Trait)
	}
	return out, nil
}

// SetTraits makes traits all that a provider has; fault.KindInvalid for an unknown one.
func SetTraits(ctx context.Context, tx *db.Tx, providerID string, generation int64, traits []string) error {
	if err := Advance(ctx, tx, providerID, generation); err != nil {
		return err
	}
	if err := Traits.Require(ctx, tx, traits); err != nil {
		return err
	}
	return replace(ctx, tx, "provider_traits", "trait", providerID, traits)
}

// AggregatesOf lists the aggregates a provider is a member of.
func AggregatesOf(ctx context.Context, tx *db.Tx, providerID string) ([]string, error) {
	out := []string{}
	return out, tx.Select(ctx, &out, `SELECT aggregate_id FROM provider_aggregates WHERE provider_id = ? ORDER BY aggregate_id`, providerID)
}

// SetAggregates makes ids all that a provider is a member of.
func SetAggregates(ctx context.Context, tx *db.Tx, providerID string, generation int64, ids []string) error {
	if err := Advance(ctx, tx, providerID, generation); err != nil {
		return err
	}
	return replace(ctx, tx, "provider_aggregates", "aggregate_id", providerID, ids)
}

// replace makes list all rows of a provider; the provider's row is held by Advance.
func replace(ctx context.Context, tx *db.Tx, table, column, providerID string, list []string) error {
	if _, err := tx.Exec(ctx, `DELETE FROM `+table+` WHERE provider_id = ?`, providerID); err != nil {
		return err
	}
	for _, x := range list {
		if _, err := tx.Exec(ctx, `INSERT INTO `+table+` (provider_id, `+column+`) VALUES (?, ?) ON CONFLICT DO NOTHING`, providerID, x); err != nil {
			return err
		}
	}
	return nil
}
