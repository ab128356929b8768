from eranntag.cli import main

main()
