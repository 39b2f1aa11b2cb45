"""The words of the embedded instruction language: everyday Indonesian, and a clinic's."""

from __future__ import annotations

from collections.abc import Mapping

NAMES = (
    *("Budi", "Siti", "Agus", "Dewi", "Rina", "Joko", "Ayu", "Bambang", "Wati", "Hasan"),
    *("Putri", "Rudi", "Lestari", "Yusuf", "Nina", "Eko", "Fitri", "Dimas", "Ratna", "Tono"),
)
TIMES = (
    *("pagi ini", "kemarin sore", "tadi malam", "hari Senin", "hari Rabu", "hari Jumat"),
    *("minggu lalu", "dua hari lalu", "bulan lalu", "tadi siang"),
)

# --- everyday -------------------------------------------------------------------------------------

GOODS = (
    *("Nasi goreng", "Baju", "Tas", "Sepatu", "Kamar hotel", "Film", "Ponsel", "Kopi", "Kue"),
    *("Jaket", "Kursi", "Payung", "Bakso", "Sepeda"),
)
PRAISE = ("bagus", "enak", "murah", "nyaman", "rapi", "menarik", "kuat", "indah", "memuaskan")
BLAME = ("jelek", "hambar", "mahal", "rusak", "kotor", "membosankan", "tipis", "rapuh", "buruk")
DEGREES = ("sangat", "cukup", "sungguh", "agak", "memang")
TOPICS: Mapping[str, tuple[str, ...]] = {
    "makanan": ("memasak rendang", "mencicipi soto", "menggoreng tempe", "merebus mi"),
    "olahraga": ("bermain bola", "berlari pagi", "berenang", "menonton tinju"),
    "musik": ("memetik gitar", "menyanyi keroncong", "memukul gendang", "meniup suling"),
    "belanja": ("menawar kain", "membayar di kasir", "memilih sandal", "mencari diskon"),
    "kebun": ("menanam cabai", "menyiram bunga", "memanen mangga", "mencangkul tanah"),
}
DEEDS = (
    *("membeli beras", "menjual ikan", "membaca koran", "mencuci mobil", "menulis surat"),
    *("mengajar kelas", "memotong rumput", "mengirim paket", "melukis gunung", "membuka warung"),
)
PLACES = (
    *("pasar", "sekolah", "kantor", "rumah", "stasiun", "taman", "pantai", "desa", "perpustakaan"),
    *("masjid", "terminal", "kampus"),
)
WISHES: Mapping[str, str] = {
    "mau": "ingin",
    "nggak mau": "tidak ingin",
    "lagi": "sedang",
    "udah": "sudah",
    "belum": "belum",
    "bisa": "dapat",
}
ACTS: Mapping[str, str] = {
    "beli": "membeli",
    "cari": "mencari",
    "kasih": "memberikan",
    "bikin": "membuat",
    "ambil": "mengambil",
    "bawa": "membawa",
    "pakai": "memakai",
    "simpan": "menyimpan",
}
THINGS = (
    "buku",
    "roti",
    "obat",
    "tiket",
    "kunci",
    "lampu",
    "kain",
    "teh",
    "beras",
    "surat",
    "foto",
)

# --- the clinic -----------------------------------------------------------------------------------

COMPLAINTS: Mapping[str, tuple[str, str]] = {
    "demam": ("febris", "penyakit dalam"),
    "sakit kepala": ("sefalgia", "saraf"),
    "mual": ("nausea", "penyakit dalam"),
    "sesak napas": ("dispnea", "paru"),
    "gatal": ("pruritus", "kulit"),
    "sakit gigi": ("odontalgia", "gigi"),
    "nyeri sendi": ("artralgia", "ortopedi"),
    "sulit tidur": ("insomnia", "jiwa"),
    "muntah": ("emesis", "penyakit dalam"),
    "nyeri otot": ("mialgia", "ortopedi"),
    "mimisan": ("epistaksis", "telinga"),
    "mata merah": ("konjungtivitis", "mata"),
    "darah tinggi": ("hipertensi", "jantung"),
    "biduran": ("urtikaria", "kulit"),
    "jantung berdebar": ("palpitasi", "jantung"),
    "telinga berdenging": ("tinitus", "telinga"),
    "sembelit": ("konstipasi", "penyakit dalam"),
    "batuk darah": ("hemoptisis", "paru"),
    "susah menelan": ("disfagia", "telinga"),
    "kurang darah": ("anemia", "penyakit dalam"),
    "pusing berputar": ("vertigo", "saraf"),
    "penglihatan ganda": ("diplopia", "mata"),
    "kejang": ("konvulsi", "saraf"),
    "gusi berdarah": ("gingivitis", "gigi"),
}
"""Patient's word -> the record's term and the right department; common ones first."""
GRADES = ("ringan", "berat", "hebat", "hilang timbul")
SPANS = (
    *("sejak kemarin", "sejak pagi", "sejak dua hari", "selama seminggu", "selama tiga hari"),
    *("sejak semalam", "selama sebulan", "setiap malam"),
)
SERVICES = ("Perawat", "Dokter", "Antrean", "Apotek", "Ruang tunggu", "Pendaftaran", "Bidan")
WELL = ("ramah", "cepat", "bersih", "teliti", "sabar", "jelas")
BADLY = ("lambat", "kasar", "ceroboh", "kacau", "pengap", "bingung")
CLINICS = ("puskesmas", "klinik", "rumah sakit", "posyandu", "ruang gawat darurat")
