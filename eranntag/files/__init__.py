"""Files and folders of our own: `atomic` writes, `bounded` reads, the `cache` folder, the `lock` of a writer, `walk` and
`csv_rows` for reading."""
