"""The HTML page of many sounds: `page`, made of a `row` and a `thumbnail` for each."""
