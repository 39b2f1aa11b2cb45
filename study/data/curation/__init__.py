"""From instruction records to training data: cleaned, stratified, clustered, split, masked.

`curate(records)` is the whole selection, a pure function.  `read_records` supplies the records;
`from_command.curate_to_folder` is what `optuna-study curate` does.
"""

from study.data.curation.cleaning import Lengths
from study.data.curation.embedding import Encoder, tfidf
from study.data.curation.instruction_records import Columns, Record, read_records, records_of
from study.data.curation.selection import Choices, Curation, curate

__all__ = [
    "Choices",
    "Columns",
    "Curation",
    "Encoder",
    "Lengths",
    "Record",
    "curate",
    "read_records",
    "records_of",
    "tfidf",
]
