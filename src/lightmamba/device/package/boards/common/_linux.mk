test:
	$(PYTHON) driver/run.py --test

logs:
	./collect_logs.sh

clean:
	rm -rf $(BUILD) .Xil
