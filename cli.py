from kstyle.cli import main

main()
