"""The sections of the page, and what stands above them: answer, caution, figures, winner."""
