"""The hello service: the smallest whole service, with app file, typed client and test."""
