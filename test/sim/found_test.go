package sim

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"nephos/internal/db"
)

// Histories that once went wrong, as short as they could be made, by their symptoms.
func TestHistoriesThatWentWrong(t *testing.T) {
	tpl := makeTemplate(t)
	const s, ms = time.Second, time.Millisecond
	for symptom, p := range map[string]plan{
		"ACTIVE for ever with a dead guest, since the host missed a command": {15, []act{{No: 10, At: 15929 * ms, Kind: "create", A: 3, B: 782}, {No: 15, At: 16768 * ms, Kind: "host-dies", A: 829, B: 694, For: 32 * s},
			{No: 19, At: 17211 * ms, Kind: "unplug", A: 372, B: 193}}},
		"no heartbeat ever again after one lost document": {1030, []act{{No: 43, At: 79543 * ms, Kind: "agent-dies", A: 788, B: 850, For: 13953 * ms}, {No: 44, At: 80051 * ms, Kind: "create", A: 875, B: 261},
			{No: 45, At: 81477 * ms, Kind: "lossy", A: 820, B: 985, For: 29726 * ms}}},
		"a deleted volume's file brought back by an old command": {1092, []act{{No: 17, At: 30494 * ms, Kind: "failing-host", A: 214, B: 273, For: 52944 * ms}, {No: 27, At: 65819 * ms, Kind: "doubling", A: 293, B: 421, For: 55412 * ms},
			{No: 29, At: 73949 * ms, Kind: "create", A: 392, B: 736}, {No: 30, At: 76649 * ms, Kind: "volume", A: 220, B: 680}, {No: 37, At: 91199 * ms, Kind: "volume-delete", A: 656, B: 101}}},
		"a host's disk kept by a claim that was refused for its memory": {2006, []act{{No: 1, At: 282 * ms, Kind: "create", A: 94, B: 508}, {No: 2, At: 504 * ms, Kind: "create", A: 204, B: 276},
			{No: 5, At: 2729 * ms, Kind: "create", A: 2, B: 57}, {No: 9, At: 13773 * ms, Kind: "host-dies", A: 188, B: 864, For: 26707 * ms}, {No: 10, At: 14043 * ms, Kind: "create", A: 37, B: 223},
			{No: 13, At: 21184 * ms, Kind: "create", A: 647, B: 852}, {No: 16, At: 27090 * ms, Kind: "create", A: 552, B: 409}}},
		"a volume that was never made missed by fsck": {2020, []act{{No: 13, At: 58552 * ms, Kind: "agent-dies", A: 853, B: 358, For: 59634 * ms}, {No: 14, At: 58637 * ms, Kind: "create-on-volume", A: 840, B: 905},
			{No: 15, At: 58856 * ms, Kind: "delete", A: 35, B: 304}}},
		"ACTIVE for ever with a guest that a given-up suspend had suspended": {822, []act{{No: 3, At: 4540 * ms, Kind: "create", A: 270, B: 547}, {No: 5, At: 9100 * ms, Kind: "create", A: 424, B: 307},
			{No: 6, At: 9643 * ms, Kind: "create", A: 583, B: 757}, {No: 8, At: 10477 * ms, Kind: "create-on-volume", A: 345, B: 5},
			{No: 12, At: 11968 * ms, Kind: "cut-from-host", A: 616, B: 262, For: 30147 * ms}, {No: 13, At: 12632 * ms, Kind: "suspend", A: 498, B: 180}}},
		"a volume's file left for ever on a host that was down when the build went on elsewhere": {849, []act{{No: 5, At: 6445 * ms, Kind: "create", A: 795, B: 76},
			{No: 8, At: 35635 * ms, Kind: "lossy", A: 366, B: 182, For: 2833 * ms}, {No: 11, At: 36072 * ms, Kind: "create", A: 53, B: 891}, {No: 12, At: 36110 * ms, Kind: "create", A: 17, B: 727},
			{No: 15, At: 37001 * ms, Kind: "create-on-volume", A: 548, B: 401}, {No: 30, At: 39162 * ms, Kind: "host-dies", A: 655, B: 200, For: 55277 * ms}}},
		"in-use by nobody, since it was extended while its server was deleted": {906, []act{{No: 1, At: 1240 * ms, Kind: "create", A: 128, B: 346}, {No: 2, At: 2575 * ms, Kind: "create", A: 37, B: 53},
			{No: 3, At: 4131 * ms, Kind: "volume", A: 866, B: 705}, {No: 4, At: 4252 * ms, Kind: "create", A: 983, B: 451}, {No: 5, At: 8385 * ms, Kind: "create", A: 304, B: 477},
			{No: 6, At: 8605 * ms, Kind: "volume-extend", A: 893, B: 988}, {No: 11, At: 38632 * ms, Kind: "late", A: 427, B: 44, For: 47472 * ms},
			{No: 12, At: 42826 * ms, Kind: "create", A: 493, B: 515}, {No: 18, At: 46998 * ms, Kind: "unplug", A: 483, B: 987}, {No: 20, At: 47060 * ms, Kind: "attach", A: 688, B: 529},
			{No: 27, At: 48635 * ms, Kind: "create-on-volume", A: 452, B: 799}, {No: 31, At: 49552 * ms, Kind: "create", A: 218, B: 124},
			{No: 33, At: 49728 * ms, Kind: "delete", A: 836, B: 108}, {No: 39, At: 54982 * ms, Kind: "volume-extend", A: 487, B: 195}}},
		"a device plugged in by a late copy of a command that had been undone": {1523, []act{{No: 2, At: 3986 * ms, Kind: "create", A: 808, B: 252},
			{No: 5, At: 7815 * ms, Kind: "create", A: 121, B: 247}, {No: 8, At: 10117 * ms, Kind: "create-on-volume", A: 980, B: 525},
			{No: 10, At: 19505 * ms, Kind: "cut-to-host", A: 329, B: 666, For: 52969 * ms}, {No: 12, At: 29919 * ms, Kind: "plug", A: 185, B: 96},
			{No: 18, At: 44548 * ms, Kind: "doubling", A: 307, B: 463, For: 32798 * ms}, {No: 34, At: 70811 * ms, Kind: "cut-from-host", A: 779, B: 150, For: 45318 * ms}}},
		"SUSPENDED for ever with a running guest, since a heartbeat came late": {2190, []act{{No: 3, At: 6010 * ms, Kind: "create", A: 793, B: 535},
			{No: 6, At: 7888 * ms, Kind: "create", A: 972, B: 765}, {No: 7, At: 9046 * ms, Kind: "create-on-volume", A: 225, B: 134}, {No: 8, At: 20124 * ms, Kind: "create", A: 656, B: 313},
			{No: 9, At: 25620 * ms, Kind: "create-on-volume", A: 721, B: 853}, {No: 11, At: 30457 * ms, Kind: "create", A: 263, B: 694},
			{No: 13, At: 32328 * ms, Kind: "create", A: 430, B: 620}, {No: 16, At: 35300 * ms, Kind: "create", A: 442, B: 551},
			{No: 19, At: 36160 * ms, Kind: "doubling", A: 642, B: 912, For: 30129 * ms}, {No: 23, At: 43253 * ms, Kind: "suspend", A: 260, B: 61},
			{No: 26, At: 60402 * ms, Kind: "reboot-hard", A: 507, B: 173}}},
		"reserved for ever by an attaching that an evacuation cancelled": {3098, []act{{No: 3, At: 4257 * ms, Kind: "volume", A: 292, B: 25},
			{No: 4, At: 6732 * ms, Kind: "create", A: 711, B: 922}, {No: 5, At: 6831 * ms, Kind: "create", A: 966, B: 847}, {No: 6, At: 9708 * ms, Kind: "create", A: 982, B: 797},
			{No: 8, At: 14879 * ms, Kind: "create", A: 643, B: 993}, {No: 15, At: 32368 * ms, Kind: "create", A: 82, B: 832}, {No: 17, At: 39819 * ms, Kind: "create", A: 888, B: 913},
			{No: 18, At: 41561 * ms, Kind: "host-dies", A: 3, B: 217, For: 47329 * ms}, {No: 19, At: 44396 * ms, Kind: "delete", A: 507, B: 199},
			{No: 20, At: 47315 * ms, Kind: "create", A: 195, B: 804}, {No: 21, At: 47654 * ms, Kind: "attach", A: 252, B: 259}, {No: 22, At: 47886 * ms, Kind: "create", A: 781, B: 76},
			{No: 33, At: 68305 * ms, Kind: "evacuate", A: 620, B: 348}}},
		"two hosts run one server, reverted while its destination was down": {2138, []act{{No: 3, At: 3262 * ms, Kind: "create", A: 597, B: 549}, {No: 4, At: 3381 * ms, Kind: "create", A: 500, B: 969}, {No: 5, At: 5719 * ms, Kind: "create", A: 249, B: 670},
			{No: 6, At: 9928 * ms, Kind: "create", A: 404, B: 742}, {No: 12, At: 35868 * ms, Kind: "migrate", A: 119, B: 48}, {No: 32, At: 38151 * ms, Kind: "agent-dies", A: 637, B: 497, For: 33046 * ms},
			{No: 37, At: 40772 * ms, Kind: "revert", A: 134, B: 117}, {No: 40, At: 76663 * ms, Kind: "detach", A: 913, B: 43}}},
		"a migration reverting for ever, since its source was down": {2186, []act{{No: 4, At: 3874 * ms, Kind: "create", A: 985, B: 381}, {No: 5, At: 3942 * ms, Kind: "resize", A: 137, B: 910}, {No: 15, At: 18635 * ms, Kind: "cut-host", A: 421, B: 866, For: 7048 * ms},
			{No: 16, At: 22503 * ms, Kind: "revert", A: 405, B: 276}, {No: 20, At: 31522 * ms, Kind: "agent-dies", A: 70, B: 731, For: 47906 * ms}}},
		"a migration reverting for ever, since its server was deleted on the way back": {2149, []act{{No: 2, At: 2266 * ms, Kind: "create", A: 23, B: 607}, {No: 3, At: 2667 * ms, Kind: "create", A: 397, B: 981}, {No: 5, At: 3657 * ms, Kind: "resize", A: 954, B: 252},
			{No: 7, At: 7679 * ms, Kind: "create", A: 827, B: 614}, {No: 18, At: 33479 * ms, Kind: "revert", A: 189, B: 842}, {No: 28, At: 58023 * ms, Kind: "create", A: 971, B: 436},
			{No: 30, At: 62098 * ms, Kind: "create", A: 279, B: 896}, {No: 33, At: 69283 * ms, Kind: "cut-controller", A: 594, B: 745, For: 31134 * ms}, {No: 34, At: 74393 * ms, Kind: "create", A: 10, B: 13},
			{No: 35, At: 74880 * ms, Kind: "live-migrate", A: 441, B: 319}, {No: 37, At: 78210 * ms, Kind: "resize", A: 956, B: 281}, {No: 39, At: 82168 * ms, Kind: "create-on-volume", A: 678, B: 216},
			{No: 46, At: 90991 * ms, Kind: "revert", A: 996, B: 908}, {No: 47, At: 91273 * ms, Kind: "delete", A: 147, B: 645}}},
		"an image queued for ever, since its server was evacuated": {2142, []act{{No: 3, At: 5384 * ms, Kind: "create", A: 281, B: 933}, {No: 4, At: 6690 * ms, Kind: "create", A: 339, B: 523}, {No: 5, At: 9043 * ms, Kind: "create", A: 580, B: 95},
			{No: 7, At: 14458 * ms, Kind: "create", A: 462, B: 441}, {No: 14, At: 53659 * ms, Kind: "create", A: 738, B: 482}, {No: 30, At: 56994 * ms, Kind: "backup", A: 518, B: 15},
			{No: 31, At: 57002 * ms, Kind: "agent-dies", A: 170, B: 929, For: 41918 * ms}, {No: 32, At: 57006 * ms, Kind: "create", A: 214, B: 227}, {No: 36, At: 57772 * ms, Kind: "create", A: 266, B: 335},
			{No: 46, At: 73442 * ms, Kind: "evacuate", A: 910, B: 672}}},
		"a copy of a disk left on a host that was down when its image was given up": {2142, []act{{No: 4, At: 6690 * ms, Kind: "create", A: 339, B: 523}, {No: 5, At: 9043 * ms, Kind: "create", A: 580, B: 95}, {No: 14, At: 53659 * ms, Kind: "create", A: 738, B: 482},
			{No: 30, At: 56994 * ms, Kind: "backup", A: 518, B: 15}, {No: 31, At: 57002 * ms, Kind: "agent-dies", A: 170, B: 929, For: 41918 * ms}}},
		"a live migration tried for two hours, since the last of its bytes were lost": {15, []act{{No: 1, At: 1 * s, Kind: "create", A: 0, B: 1},
			{No: 2, At: 4 * s, Kind: "rough", A: 0, B: 499, For: 60 * s}, {No: 3, At: 8 * s, Kind: "live-migrate", B: 1}, {No: 4, At: 30 * s, Kind: "live-migrate", B: 1}}},
		"a live migration tried for two hours, since its guest had died over there": {542, []act{{No: 2, At: 854 * ms, Kind: "create", A: 443, B: 812}, {No: 6, At: 3843 * ms, Kind: "unplug", A: 357, B: 871}, {No: 9, At: 6181 * ms, Kind: "create", A: 94, B: 782},
			{No: 10, At: 8336 * ms, Kind: "create", A: 514, B: 213}, {No: 15, At: 28647 * ms, Kind: "shelve", A: 639, B: 89}, {No: 17, At: 34189 * ms, Kind: "live-migrate", A: 219, B: 813},
			{No: 20, At: 37284 * ms, Kind: "controller-dies", A: 437, B: 858, For: 6199 * ms}, {No: 24, At: 46345 * ms, Kind: "guest-dies", A: 208, B: 503, For: 28233 * ms}}},
		"ACTIVE after a delete that was accepted, since it was evacuated": {50114, []act{{No: 2, At: 744 * ms, Kind: "create", A: 750, B: 13}, {No: 5, At: 2183 * ms, Kind: "create", A: 881, B: 323},
			{No: 7, At: 8959 * ms, Kind: "create", A: 299, B: 682}, {No: 10, At: 9761 * ms, Kind: "create", A: 937, B: 618}, {No: 13, At: 20330 * ms, Kind: "cut-host", A: 755, B: 37, For: 58883 * ms},
			{No: 15, At: 21709 * ms, Kind: "delete", A: 277, B: 627}, {No: 22, At: 47800 * ms, Kind: "evacuate", A: 633, B: 740}}},
		"STOPPED with a paused guest, since its host was down when it was to be shelved": {40057, []act{{No: 6, At: 9935 * ms, Kind: "create", A: 283, B: 156},
			{No: 8, At: 28954 * ms, Kind: "pause", A: 774, B: 242}, {No: 49, At: 89996 * ms, Kind: "agent-dies", A: 19, B: 197, For: 21003 * ms}, {No: 50, At: 90008 * ms, Kind: "shelve", A: 756, B: 337}}},
		"STOPPED with a suspended guest, since it could not be shelved": {592, []act{{No: 1, At: 1391 * ms, Kind: "create", A: 464, B: 841}, {No: 3, At: 2272 * ms, Kind: "create", A: 621, B: 4}, {No: 9, At: 8861 * ms, Kind: "create", A: 84, B: 627},
			{No: 13, At: 26520 * ms, Kind: "create", A: 572, B: 660}, {No: 17, At: 32075 * ms, Kind: "rough", A: 36, B: 282, For: 50804 * ms}, {No: 23, At: 50249 * ms, Kind: "resize", A: 34, B: 746},
			{No: 27, At: 54070 * ms, Kind: "suspend", A: 538, B: 150}, {No: 29, At: 59063 * ms, Kind: "create", A: 257, B: 232}, {No: 31, At: 59205 * ms, Kind: "create", A: 225, B: 406},
			{No: 36, At: 79137 * ms, Kind: "shelve", A: 238, B: 489}}},
		"a resize confirmed on a host that had lost the server, at the price of the only copy": {100322, []act{{No: 1, At: 1094 * ms, Kind: "create", A: 603, B: 920},
			{No: 2, At: 1277 * ms, Kind: "remember", A: 575, B: 809, For: 54431 * ms}, {No: 11, At: 19004 * ms, Kind: "create", A: 219, B: 925},
			{No: 26, At: 60437 * ms, Kind: "migrate", A: 36, B: 149}, {No: 40, At: 87748 * ms, Kind: "old-state", A: 326, B: 645, For: 32245 * ms}}},
		"two hosts run one server, sent by a source that then fell silent with its destination": {100397, []act{{No: 3, At: 1683 * ms, Kind: "create", A: 770, B: 188},
			{No: 4, At: 2087 * ms, Kind: "create", A: 205, B: 536}, {No: 5, At: 2212 * ms, Kind: "create", A: 194, B: 21}, {No: 8, At: 5225 * ms, Kind: "lossy", A: 815, B: 589, For: 40872 * ms},
			{No: 9, At: 6575 * ms, Kind: "create-on-volume", A: 723, B: 757}, {No: 10, At: 8488 * ms, Kind: "create", A: 953, B: 461},
			{No: 20, At: 21186 * ms, Kind: "live-migrate", A: 83, B: 419}, {No: 25, At: 36713 * ms, Kind: "agent-dies", A: 659, B: 780, For: 59961 * ms},
			{No: 29, At: 38768 * ms, Kind: "cut-controller", A: 839, B: 970, For: 22058 * ms}, {No: 52, At: 99888 * ms, Kind: "controller-dies", A: 530, B: 307, For: 38314 * ms}}},
		"two hosts run one server, called back while its destination was down": {100597, []act{{No: 5, At: 5418 * ms, Kind: "create", A: 385, B: 111},
			{No: 6, At: 5677 * ms, Kind: "create", A: 125, B: 628}, {No: 7, At: 8484 * ms, Kind: "live-migrate", A: 843, B: 973}, {No: 9, At: 9709 * ms, Kind: "create", A: 537, B: 953},
			{No: 10, At: 11213 * ms, Kind: "agent-dies", A: 303, B: 485, For: 5489 * ms}, {No: 11, At: 13520 * ms, Kind: "create", A: 673, B: 324},
			{No: 15, At: 25328 * ms, Kind: "migrate", A: 946, B: 754}, {No: 16, At: 26852 * ms, Kind: "create", A: 423, B: 937}, {No: 17, At: 35842 * ms, Kind: "migrate", A: 183, B: 595},
			{No: 18, At: 36887 * ms, Kind: "lossy", A: 946, B: 462, For: 58012 * ms}, {No: 24, At: 43207 * ms, Kind: "resize", A: 759, B: 369},
			{No: 33, At: 63184 * ms, Kind: "agent-dies", A: 452, B: 251, For: 44562 * ms}}},
		"SUSPENDED with a running guest, started by the undo of a move that could not begin": {100853, []act{{No: 2, At: 228 * ms, Kind: "create", A: 137, B: 536},
			{No: 4, At: 1543 * ms, Kind: "late", A: 130, B: 236, For: 57152 * ms}, {No: 5, At: 1956 * ms, Kind: "create", A: 694, B: 898}, {No: 6, At: 2094 * ms, Kind: "delete", A: 217, B: 962},
			{No: 7, At: 2782 * ms, Kind: "create", A: 372, B: 178}, {No: 8, At: 3657 * ms, Kind: "create", A: 190, B: 884}, {No: 9, At: 5748 * ms, Kind: "create", A: 743, B: 522},
			{No: 10, At: 9510 * ms, Kind: "suspend", A: 287, B: 632}, {No: 15, At: 16127 * ms, Kind: "cut-host", A: 558, B: 870, For: 59943 * ms},
			{No: 16, At: 18253 * ms, Kind: "controller-dies", A: 349, B: 556, For: 40245 * ms}, {No: 19, At: 33209 * ms, Kind: "create", A: 64, B: 396},
			{No: 34, At: 62182 * ms, Kind: "create", A: 356, B: 207}, {No: 39, At: 73237 * ms, Kind: "live-migrate", A: 754, B: 949}}},
		"creating for ever, since its server was deleted while its build was undone": {101847, []act{{No: 5, At: 3746 * ms, Kind: "create", A: 612, B: 520},
			{No: 7, At: 4972 * ms, Kind: "cut-from-host", A: 389, B: 808, For: 18639 * ms}, {No: 8, At: 5286 * ms, Kind: "create", A: 475, B: 605},
			{No: 9, At: 7499 * ms, Kind: "create", A: 19, B: 645}, {No: 11, At: 10187 * ms, Kind: "agent-dies", A: 326, B: 590, For: 52319 * ms},
			{No: 12, At: 12731 * ms, Kind: "create", A: 477, B: 489}, {No: 15, At: 17426 * ms, Kind: "late", A: 476, B: 407, For: 57280 * ms},
			{No: 18, At: 20451 * ms, Kind: "create", A: 603, B: 690}, {No: 20, At: 40038 * ms, Kind: "agent-dies", A: 661, B: 157, For: 36851 * ms},
			{No: 31, At: 50099 * ms, Kind: "create-on-volume", A: 670, B: 675}, {No: 32, At: 50135 * ms, Kind: "create", A: 464, B: 317}, {No: 36, At: 62288 * ms, Kind: "delete", A: 85, B: 626}}},
		"stopped with a suspended guest, since an old heartbeat had made it ACTIVE": {404249, []act{{No: 1, At: 299 * ms, Kind: "create", A: 847, B: 776}, {No: 4, At: 6047 * ms, Kind: "create", A: 861, B: 883},
			{No: 7, At: 8042 * ms, Kind: "create", A: 87, B: 871}, {No: 16, At: 22555 * ms, Kind: "create", A: 304, B: 620}, {No: 17, At: 22871 * ms, Kind: "doubling", A: 35, B: 405, For: 13176 * ms},
			{No: 19, At: 23600 * ms, Kind: "cut-host", A: 198, B: 505, For: 3014 * ms}, {No: 20, At: 25043 * ms, Kind: "suspend", A: 233, B: 849}, {No: 27, At: 39845 * ms, Kind: "create", A: 117, B: 236},
			{No: 44, At: 88457 * ms, Kind: "stop", A: 771, B: 243}}},
		"no disk anywhere, since its server was evacuated on its way to another host": {603343, []act{{No: 2, At: 5582 * ms, Kind: "create", A: 552, B: 496}, {No: 3, At: 6599 * ms, Kind: "create", A: 275, B: 30},
			{No: 4, At: 7042 * ms, Kind: "create", A: 379, B: 82}, {No: 8, At: 11341 * ms, Kind: "agent-dies", A: 943, B: 714, For: 17625 * ms}, {No: 10, At: 12419 * ms, Kind: "cut-to-host", A: 646, B: 441, For: 44707 * ms},
			{No: 11, At: 16761 * ms, Kind: "create", A: 818, B: 91}, {No: 13, At: 20040 * ms, Kind: "create", A: 866, B: 497}, {No: 23, At: 34493 * ms, Kind: "resize", A: 738, B: 953},
			{No: 26, At: 42612 * ms, Kind: "cut-controller", A: 286, B: 753, For: 15284 * ms}, {No: 28, At: 44466 * ms, Kind: "agent-dies", A: 26, B: 807, For: 13556 * ms},
			{No: 35, At: 55827 * ms, Kind: "evacuate", A: 476, B: 806}, {No: 38, At: 69288 * ms, Kind: "reboot-hard", A: 822, B: 591}}},
		"attached for ever to a guest that had let it go, since the answer was lost": {1039, []act{{No: 2, At: 1640 * ms, Kind: "create", A: 37, B: 8}, {No: 3, At: 1837 * ms, Kind: "create", A: 35, B: 491},
			{No: 4, At: 3380 * ms, Kind: "delete", A: 699, B: 549}, {No: 14, At: 19847 * ms, Kind: "volume", A: 185, B: 175}, {No: 15, At: 22344 * ms, Kind: "attach", A: 144, B: 107},
			{No: 17, At: 29572 * ms, Kind: "cut-from-host", A: 654, B: 150, For: 40889 * ms}, {No: 18, At: 39261 * ms, Kind: "detach", A: 792, B: 840}}},
		"a volume that nobody knew of, since an evacuation that came to nothing had ended its attaching": {700713, []act{{No: 5, At: 5625 * ms, Kind: "create", A: 107, B: 533}, {No: 7, At: 7668 * ms, Kind: "create", A: 866, B: 508},
			{No: 10, At: 17033 * ms, Kind: "create", A: 493, B: 281}, {No: 20, At: 36357 * ms, Kind: "live-migrate", A: 558, B: 523},
			{No: 22, At: 38822 * ms, Kind: "volume", A: 200, B: 278}, {No: 31, At: 51682 * ms, Kind: "cut-controller", A: 328, B: 394, For: 34548 * ms},
			{No: 46, At: 82376 * ms, Kind: "cut-controller", A: 997, B: 468, For: 26999 * ms}, {No: 49, At: 86330 * ms, Kind: "attach", A: 933, B: 695},
			{No: 51, At: 87475 * ms, Kind: "evacuate", A: 486, B: 68}}},
	} {
		t.Run(symptom, func(t *testing.T) {
			out := play(t, tpl, p, nil)
			require.NoError(t, out.Err, out.traceText(60))
		})
	}
}

// Where nothing goes wrong every act that was accepted is done: no workflow fails. Two controllers answer, and now this one, now that one gets what hosts send.
func TestACalmCloudDoesWhatItAccepted(t *testing.T) {
	tpl := makeTemplate(t)
	const s = time.Second
	p := plan{Acts: []act{{At: s, Kind: "create", A: 0, B: 1}, {At: 2 * s, Kind: "image"}, {At: 10 * s, Kind: "backup"}, {At: 15 * s, Kind: "suspend"}, {At: 20 * s, Kind: "image"},
		{At: 25 * s, Kind: "shelve"}, {At: 35 * s, Kind: "unshelve"}, {At: 40 * s, Kind: "live-migrate", B: 1}, {At: 60 * s, Kind: "migrate", B: 1}, {At: 65 * s, Kind: "revert"},
		{At: 70 * s, Kind: "resize", B: 1}, {At: 75 * s, Kind: "confirm"}, {At: 80 * s, Kind: "rebuild"}, {At: 85 * s, Kind: "migrate", B: 1}}}
	for i := range p.Acts {
		p.Acts[i].No = i + 1
	}
	for seed := uint64(1); seed <= 4; seed++ {
		p.Seed = seed
		out := playThen(t, tpl, p, nil, func(w *world) error {
			var failed []string
			err := w.db.Read(w.ctx, func(tx *db.Tx) error {
				failed = nil
				return tx.Select(w.ctx, &failed, `SELECT kind || ' ' || step_name || ' ' || err FROM workflows WHERE status NOT IN ('running', 'undoing', 'done')`)
			})
			for _, l := range w.trace {
				if strings.Contains(l.text, "refused: ") {
					failed = append(failed, l.text)
				}
			}
			if err == nil && len(failed) > 0 {
				err = errors.New(strings.Join(failed, "; "))
			}
			return err
		})
		require.NoError(t, out.Err, out.traceText(100))
	}
}
